-- Store version 3. SELECT keeps the number until its tables come.
SELECT 1;
