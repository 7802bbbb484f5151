-- Store version 7. SELECT keeps the number until its tables come.
SELECT 1;
