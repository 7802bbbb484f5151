-- Store version 6. SELECT keeps the number until its tables come.
SELECT 1;
