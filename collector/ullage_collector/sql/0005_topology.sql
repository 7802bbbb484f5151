-- Store version 5. SELECT keeps the number until its tables come.
SELECT 1;
