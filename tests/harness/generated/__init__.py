"""Files of the project that are made of others: the drawn house, tables of docs, completion of shells."""
