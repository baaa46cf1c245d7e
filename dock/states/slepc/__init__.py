"""The solver ``slepc``: rows of H and S spread over the processes of MPI."""
