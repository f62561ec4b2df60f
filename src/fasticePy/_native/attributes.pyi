# nothing for Python: its functions are for cimport
