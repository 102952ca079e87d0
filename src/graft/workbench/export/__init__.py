"""`graft export`: a request is checked, a form is written, and both are held against the branch."""
