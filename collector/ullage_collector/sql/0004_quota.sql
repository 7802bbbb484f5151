-- Store version 4. SELECT keeps the number until its tables come.
SELECT 1;
