"""The ledger: what happened to the repositories, as leaves of a Merkle tree whose root is signed each night.

entries.py has what an entry knows, sealed.py what can be seen of a repository without its key, sessions.py
when it was served; merkle.py is the tree of RFC 6962, note.py the signed notes of C2SP.
"""
