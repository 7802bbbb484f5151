-- Store version 8. SELECT keeps the number until its tables come.
SELECT 1;
