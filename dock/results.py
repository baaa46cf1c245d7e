"""The one face of everything that a computation gives: facts, arrays, a figure, and what follows.

A result says what it knows: `Result.facts` (numbers and words by key), `Result.arrays` (by key),
`Result.rows` (what a table shows) and `Result.draw` (into given axes). Saving, plotting, JSON,
tables and the view in a notebook are made of these here, once for all.

`KEYS` is the vocabulary: the same key means the same thing in JSON, in attributes of HDF5 files
and, where it is an attribute, in Python. Energies are in eV, lengths in Å; bands and atoms are
counted from 1. Dataset names of the DeepH format stay as they are in its files.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any, ClassVar

import numpy as np

from dock._version import __version__
from dock.core.notebook import html_table
from dock.errors import UsageError
from dock.figure import Drawn
from dock.io.files import require_absent, write_text
from dock.io.hdf5 import new_hdf5
from dock.io.text import json_text

__all__ = [
    "KEYS",
    "Result",
    "plain",
    "table",
]

KEYS: dict[str, str] = {
    "absorption_1_per_cm": "absorption coefficient for light along the axes: energy, axis",
    "ahc_S_per_cm": "anomalous Hall conductivity: yz, zx, xy",
    "ahc_change_S_per_cm": "anomalous Hall conductivity minus that of half the mesh: yz, zx, xy",
    "ahc_scan_S_per_cm": "anomalous Hall conductivity: Fermi level, (yz, zx, xy)",
    "angle_degrees": "angle of a rotation or a twist",
    "at": "where it was computed: vbm, cbm or given",
    "atom": "number of the atom, from 1",
    "atoms": "atoms, from 1: species, electrons, moment_muB",
    "atoms_by_element": "number of atoms of each element",
    "band_curvature_ang2": "Berry curvature of each band: spin channel, k-point, band, (x, y, z)",
    "band_energy_eV": "sum of occupation × energy per cell, which is Tr(ρH)",
    "band_energy_error_eV": "half width of the 95 % interval of the band energy",
    "bands": "numbers of the bands, from 1",
    "baseline_mae_eV": "error of a model's closed form alone, when it was judged",
    "basis": "shells of a species in words",
    "berry_curvature_ang2": "Berry curvature of the states: spin channel, k-point, (x, y, z)",
    "beside": "what a folder has beside what is read: name, what",
    "bloch_sum": "how a Bloch sum is made of the matrices",
    "bonds": "coop or cohp, where projections are populations of bonds",
    "broadened_to_eV": "energy of transitions up to which they are broadened",
    "capacity": "electrons per cell that all states hold",
    "carriers_per_cell": "electrons per cell beyond the neutral crystal: temperature, mu",
    "cbm": "conduction band minimum: energy_eV, k_frac, band, spin",
    "cell_angstrom": "lattice vectors as rows",
    "certificate": "why no state is missing: how the states were found, or counted",
    "certificates": "why no state is missing: spin channel, k-point",
    "chern": "Chern number, with the normal b_A × b_B of a plane, outwards of a cube",
    "chern_of_channels": "Chern number of each spin channel",
    "chi2_1_pm_per_V": "second-harmonic susceptibility, real part: energy, a, b, c",
    "chi2_2_pm_per_V": "second-harmonic susceptibility, imaginary part: energy, a, b, c",
    "colour": "what a Fermi surface is coloured by: none, speed, or x, y, z of the spin",
    "columns": "what the columns of a dataset are",
    "counted_electrons": "electrons per cell that the method counts up to the Fermi level",
    "counted_electrons_error": "half width of the 95 % interval of the electrons that are counted",
    "counted_fermi_level_eV": "Fermi level that is counted on this mesh, absolute",
    "counted_fermi_level_error_eV": "half width of the 95 % interval of the counted Fermi level",
    "crossing_bands": "numbers of the bands that cross the Fermi level: spin channel, band",
    "crossing_energies_eV": "their energies, absolute: k-point, bands of both channels",
    "curvature_flux": "flux of the Berry curvature through a plane, in 2π",
    "difference_eV": "deviation from what was compared, after the shift: max, mean, shift, window",
    "direct_gap_eV": "smallest vertical gap",
    "direction_masses_me": "masses along the directions that were asked for: direction, band",
    "directions": "unit vectors that were asked for, Cartesian",
    "distance_1_per_A_without_2pi": "length along the path",
    "dos_1_per_eV": "density of states per cell: spin channel, energy",
    "dos_error_1_per_eV": "half width of the 95 % interval of a density of states: channel, energy",
    "dos_error_at_fermi_1_per_eV": "the same at the Fermi level, both spins",
    "drude_eV": "relaxation rate of the carriers in a dielectric function",
    "e0s_eV": "energy of each element, eV: total energies are about the sum over the atoms",
    "edges_per_atom": "pairs of atoms over atoms; over a set its min, mean, max and sum",
    "electrons": "electrons of one atom or shell",
    "electrons_error_bound": "the most by which Tr(ρS) may be wrong for the error of the poles",
    "electrons_of_species": "valence electrons of each species",
    "element": "chemical element",
    "element_pairs": "errors of each pair of elements, and of their shells",
    "element_pairs_mae_eV": "mean deviation of H of each pair of elements",
    "elements": "elements: their names, atoms or errors",
    "emax_eV": "highest energy of the grid, from the Fermi level",
    "emin_eV": "lowest energy of the grid, from the Fermi level",
    "energies_eV": "energies, absolute: spin channel, k-point, band",
    "energies_relative_eV": "energies of a grid, from the Fermi level",
    "energy_eV": "an energy, absolute",
    "entropy_energy_eV": "the −TS term of the smearing per cell",
    "epsilon_1": "real part of the dielectric function: energy, Cartesian, Cartesian",
    "epsilon_2": "imaginary part of the dielectric function: energy, Cartesian, Cartesian",
    "epsilon_static": "real part of the dielectric function at energy zero: Cartesian, Cartesian",
    "error": "what went wrong, in a sentence",
    "eta_eV": "broadening: half width of a line at half its height",
    "exit_code": "exit code of what failed",
    "expected_electrons": "Tr(ρS), which a density on a grid must integrate to",
    "expected_seconds": "time of one eigenproblem that a plan expects",
    "extinction": "imaginary part of the refractive index: energy, axis",
    "failed": "what failed, and why",
    "fermi_level_eV": "Fermi level, absolute; the middle of the gap of an insulator",
    "fermi_source": "where the Fermi level is from: given (with the data or by the user), mid-gap, "
    "counted (on a mesh), reference (of what is compared with) or unknown",
    "files": "files that were written",
    "fill": "stored entries in percent of all",
    "findings": "what a check found: level, what, message",
    "fingerprint": "hash of H, S, mesh and threshold",
    "first_band": "number of the first band, from 1",
    "fluxes": "flux of the Berry curvature through each cell of a net, in 2π",
    "format": "name of the format",
    "formula": "formula of the structure; of the primitive cell where a supercell is unfolded",
    "function": "psi, or its periodic part u",
    "gap_eV": "band gap, 0 for a metal",
    "gap_error_eV": "predicted less true band gap over the mesh",
    "group_names": "parts of the structure",
    "half_mesh_change": "largest change against the mesh of half the size, over the largest value",
    "hamiltonian_hash": "hash of the Hamiltonian that a result was made from",
    "improper": "whether a rotation goes with an inversion",
    "index": "number of an orbital among the rows of the matrices, from 1",
    "index_in_code": "its number in the code's own files, from 1",
    "initial_by": "who made the operator that a model learned to correct",
    "integral_over_energies": "electrons per cell that the states of the grid hold",
    "integrals": "integral of each part over the cell: electrons, spin moments in μ_B",
    "inverse": "how B⁻¹ is applied in a Chebyshev expansion, in words",
    "inverse_error_eV": "by how much an approximate inverse may move a level: a bound",
    "inverse_masses_per_me": "tensor of inverse masses, 1/m_e; the mean over a level",
    "jdos_1_per_eV": "joint density of states per cell, both spins: energy",
    "k_across": "place of Wilson loops along the second axis, in reciprocal vectors",
    "k_frac": "one k-point, fractional",
    "k_name": "name of a k-point, where it has one",
    "k_weights": "shares of the k-points in the mesh",
    "kappa_over_tau_W_per_m_K_s": "thermal conductivity of electrons over the relaxation time",
    "kdotp_first_eV_ang": "effective Hamiltonian, linear in q: real and imaginary, xyz, band, band",
    "kdotp_second_eV_ang2": "its second derivatives: real and imaginary, xyz, xyz, band, band",
    "kind": "insulator, semimetal (edges meet to within 1 meV), metal or unknown",
    "kmesh": "numbers of k-points along the reciprocal vectors",
    "kmesh_shift": "shift of the mesh in its steps",
    "kpoints_frac": "k-points, fractional",
    "l": "angular momentum of the shell",
    "label": "name of a species",
    "largest_berry_curvature_ang2": "largest component of the Berry curvature",
    "largest_eV": "largest deviation of all copies",
    "largest_flux": "largest flux through a cell of the net, in 2π; 1/2 is too coarse",
    "largest_front": "rows of the largest dense piece of the sparse elimination",
    "largest_per_A3": "largest value of the density, electrons per Å³",
    "largest_residual_eV": "largest ‖Hx − eSx‖ of all states, where it was measured",
    "largest_step": "largest step of a Wannier centre between loops, in lattice vectors",
    "largest_weight": "largest weight of a state",
    "lattice_vectors": "number of lattice vectors with blocks",
    "less": "known operator that a model adds its prediction to",
    "level": "how grave a finding is: ok, note, warning or error",
    "level_sizes": "how many states the level of each state has: spin channel, k-point, band",
    "levels": "states that are seen, a row each: see columns; the energy is from the Fermi level",
    "local_atoms": "atoms, from 1, whose densities are computed without chance",
    "local_dos": "their Mulliken densities of states, 1/eV: spin channel, atom, energy",
    "longest_pair_angstrom": "largest distance of two atoms that are a pair",
    "m": "magnetic quantum number: below 0 sine, above 0 cosine",
    "mae_band_eV": "mean deviation of energies after the shift",
    "mae_dos": "deviation of the density of states over its integral",
    "mae_eV": "mean deviation",
    "mae_epsilon_2": "deviation of ε₂ up to 10 eV over its integral",
    "mae_hamiltonian_all_entries_eV": "mean deviation of H over all entries",
    "mae_hamiltonian_eV": "mean deviation of H after the shift",
    "mae_initial_hamiltonian_eV": "mean deviation of H of superposed atoms from the reference",
    "mae_occupied_levels_eV": "mean deviation of the occupied levels after their median",
    "mass_axes": "axes of the masses as rows, Cartesian",
    "masses_me": "effective masses of electrons, m_e: band, axis",
    "matrices": "matrices that are there",
    "matrix_files": "files of each matrix of a unified folder",
    "max": "largest deviation",
    "max_band_eV": "largest deviation of energies after the shift",
    "max_eV": "largest deviation",
    "max_hamiltonian_eV": "largest deviation of H",
    "max_occupied_levels_eV": "largest deviation of the occupied levels after their median",
    "mean": "mean deviation",
    "mean_eV": "mean of a deviation",
    "mean_mae_band_eV": "mean of mae_band_eV over the structures",
    "mean_mae_dos": "mean of mae_dos over the structures",
    "mean_mae_epsilon_2": "mean of mae_epsilon_2 over the structures",
    "mean_mae_hamiltonian_eV": "mean of mae_hamiltonian_eV over the structures",
    "mean_mae_occupied_levels_eV": "mean of mae_occupied_levels_eV over the structures",
    "mean_n_ghost_states": "mean of n_ghost_states over the structures",
    "mean_rmse_state": "mean of rmse_state over the structures",
    "memory_bytes": "memory that a plan needs",
    "message": "what was found, in words",
    "method": "how it was computed",
    "model_mae_eV": "error of a model on the structures for its validation",
    "moment_muB": "spin moment: x, y, z",
    "mu_eV": "chemical potentials, from the Fermi level",
    "n": "principal quantum number, where the code names it",
    "n_atoms": "number of atoms; over a set its min, mean, max and sum",
    "n_bands": "number of bands",
    "n_below": "number of bands below the first one",
    "n_cells": "primitive cells in the supercell",
    "n_certified": "eigenproblems whose states an independent count (inertia) found to be all",
    "n_copies": "rotated copies",
    "n_counts": "counts of the states below an energy that found the Fermi level",
    "n_edges": "pairs of atoms (R, i, j), both directions; over a set its min, mean, max and sum",
    "n_electrons": "electrons per cell",
    "n_energies": "number of energies of the grid",
    "n_entries": "matrix elements; over a set their min, mean, max and sum",
    "n_failed": "structures that failed",
    "n_ghost_states": "states where the reference has none, below E_F + 3 eV, at one k-point",
    "n_irreducible": "number of k-points that were computed: symmetry gives the others",
    "n_kept": "eigenproblems whose states are kept",
    "n_kpoints": "number of k-points; of a mesh all, before symmetry",
    "n_levels": "energies that were compared",
    "n_loops": "number of Wilson loops",
    "n_missing_states": "states of the reference that are lacking, below E_F + 3 eV",
    "n_moments": "number of Chebyshev moments",
    "n_orbitals": "number of orbitals; over a set its min, mean, max and sum",
    "n_pairs": "number of pairs of atoms that a matrix has blocks for",
    "n_passes": "passes over all poles that found the Fermi level",
    "n_problems": "eigenproblems: k-points times spin channels",
    "n_removed_states": "largest number of states that an overlap threshold took out at a k-point",
    "n_shared_states": "number of states that share their level with others",
    "n_states": "number of states at a k-point",
    "n_structures": "number of structures",
    "n_symmetries": "operations that reduced the mesh, the identity included",
    "n_vectors": "random vectors of each spin channel and k-point",
    "n_without_energy": "structures without a total energy: none there, or 0.0",
    "n_without_prediction": "reference structures without a prediction",
    "name": "name of a structure: its folder",
    "names": "names of the shells",
    "node_frac": "k-point of a node, fractional",
    "norms": "integral of |ψ|² over the cell of each state",
    "note": "what is to be known of the result",
    "notes": "what is to be known",
    "occupations": "electrons per cell in each state: spin channel, k-point, band",
    "ok": "whether nothing is wrong",
    "onsite_mae_eV": "mean deviation of on-site blocks",
    "options": "how errors were measured",
    "orbital": "an orbital: letter of its shell, and a function of x, y, z",
    "orbital_in_code": "the same with the sign that it has in the code's own files",
    "orbital_moments_muB": "orbital moments of states: spin channel, k-point, band, x y z",
    "orbital_order": "order of the orbitals in the matrices",
    "orbital_table": "what each row of the matrices is",
    "orbitals": "orbitals of one atom of a species",
    "oversample": "points along each axis that a value is the mean of",
    "pairs": "how the pairs of two matrices differ, in words",
    "pairs_note": "pairs of atoms that only one of two matrices has",
    "parts": "parts of a density: total, m_x, m_y, m_z",
    "path": "file or folder that is described",
    "path_note": "what is to be known of the k-path",
    "pbc": "whether the cell repeats along each lattice vector",
    "phase": "which Bloch sum coefficients belong to",
    "photon_energies_eV": "energies of the light",
    "plane_axes": "sides of a plane: reciprocal vectors from 1, or Cartesian axes",
    "plane_extent": "length of the sides of a plane in reciprocal vectors, or in 1/Å",
    "plane_origin_frac": "k-point in the middle of a plane, fractional",
    "plane_size": "k-points along the two sides of a plane",
    "plasma_energy_squared_eV2": "square of the plasma energy of a metal's carriers: Cartesian, "
    "Cartesian",
    "plasma_squared_eV2": "square of the plasma energy: temperature, mu, Cartesian, Cartesian",
    "polarization_C_per_m2": "polarisation, Cartesian, C/m²",
    "polarization_change_frac": "polarisation minus that of half the mesh, e a/V",
    "polarization_e_per_ang2": "polarisation, Cartesian, one of its branches",
    "polarization_electronic_frac": "electrons' part: spin channel, along a1, a2, a3, in e a/V",
    "polarization_frac": "polarisation along a1, a2, a3, in e a/V",
    "polarization_ionic_frac": "ions' part along a1, a2, a3, in e a/V",
    "polarization_quantum_e_per_ang2": "polarisation is known up to multiples of these rows",
    "pole_error": "largest error of the Fermi function written as a sum over poles",
    "poles": "number of poles in the upper half plane",
    "projected_dos": "density of states of each projection, 1/eV (COHP: no unit)",
    "projected_dos_error": "half widths of the 95 % intervals of projected_dos",
    "projection_names": "groups of orbitals",
    "projections": "share of each group in each state",
    "provenance": "where the data are from: code, version, files, command",
    "quantity": "what the values are",
    "radius_1_per_A": "half the edge of the cube about a node",
    "rank": "how many of the energies the compositions determine by themselves",
    "read_settings": "what --set takes in reading",
    "read_spins": "treatments of spin that are read",
    "reads": "matrices that are read",
    "reason": "why something failed",
    "refined_share": "share of the points about which a mesh was refined",
    "refractive_index": "real part of the refractive index: energy, axis",
    "residual_eV": "largest ‖Hx − eSx‖ of the states: spin channel, k-point",
    "residual_eV_per_atom": "root mean square of what the sums leave of the energies",
    "resolution_eV": "standard deviation of the Chebyshev kernel at the Fermi level",
    "resolutions_eV": "standard deviation of the Chebyshev kernel: energy",
    "rms_eV": "root mean square of a deviation",
    "rms_hamiltonian_empty_eV": "root mean square of ΔH at Γ between empty states",
    "rms_hamiltonian_mixed_eV": "root mean square of ΔH at Γ between occupied and empty states",
    "rms_hamiltonian_occupied_eV": "root mean square of ΔH at Γ between occupied states",
    "rmse_hamiltonian_all_entries_eV": "root mean square deviation of H over all entries",
    "rmse_hamiltonian_eV": "root mean square deviation of H after the shift",
    "rmse_state": "deviation of states at Γ",
    "run": "run that was converted",
    "same_order": "whether both have the same pairs in the same order",
    "scheme": "mulliken or lowdin",
    "seconds": "time that it took",
    "seebeck_V_per_K": "Seebeck coefficient: temperature, mu, Cartesian, Cartesian",
    "seed": "seed of the random numbers",
    "segments": "pieces of the k-path: points, labels",
    "settings": "what --set takes in writing",
    "shape": "numbers of grid points along the lattice vectors",
    "shell": "number of the shell in its atom, from 1",
    "shell_mae_eV": "mean deviation of each pair of shells",
    "shell_pairs": "deviations of each pair of shells",
    "shells": "shells of the atoms, from 1: l, electrons, moment_muB",
    "shells_l": "angular momenta of the shells of a species",
    "shift_band_eV": "median deviation of energies",
    "shift_conductivity_A_per_V2": "shift current of fields along b and c: energy, a, b, c",
    "shift_eV": "μ of H − μS",
    "shift_hamiltonian_eV": "Δμ of H − Δμ S",
    "sigma_1_S_per_cm": "real part of the optical conductivity: energy, Cartesian, Cartesian",
    "sigma_2_S_per_cm": "imaginary part of the optical conductivity: energy, Cartesian, Cartesian",
    "sigma_eV": "standard deviation of the Gaussians",
    "sigma_over_tau_S_per_m_s": "conductivity over the relaxation time (the Drude weight): "
    "temperature, mu, Cartesian, Cartesian",
    "slopes_eV_ang": "dE/dk along the axes of the masses: band, axis",
    "smallest_gap_eV": "smallest vertical gap at the edges of a set of bands",
    "smallest_overlap_eigenvalue": "smallest eigenvalue of S(k) that was computed",
    "smallest_per_A3": "smallest value of the density, electrons per Å³",
    "smearing": "how levels are filled or broadened",
    "solver": "how eigenproblems are solved",
    "species": "species, or the name of one",
    "spectrum_bounds_eV": "lowest and highest energy that a spectrum lies between, absolute",
    "spin": "none, collinear or noncollinear; of a spin texture ⟨σ⟩ of each state: spin channel, "
    "k-point, band, x y z",
    "spin_channel": "spin channel of each state: 0 up, 1 down",
    "spin_moment_muB": "electrons with spin up minus those with spin down",
    "standardized": "whether they are subtracted from the energies of the data set",
    "states": "names of states: band, spin",
    "states_below": "states below the first one that was computed: spin channel, k-point",
    "states_counted": "states by an independent count, −1 without: spin channel, k-point",
    "states_found": "states that were computed: spin channel, k-point",
    "status": "what became of a run: done, skipped or failed",
    "step_eV": "width of the bins of energy",
    "steps": "what was done to a Hamiltonian, in words",
    "stored_fermi_level_eV": "Fermi level that came with the data or was given, absolute",
    "strain_bottom": "principal strains of the bottom layer, 0.01 is one percent",
    "strain_top": "principal strains of the top layer, 0.01 is one percent",
    "structure_mae_eV": "mean of mae_hamiltonian_eV over the structures with an element",
    "structures": "numbers of each structure",
    "summary": "sums and means over the structures",
    "supercell": "vectors of the supercell in those of the primitive cell, as rows",
    "surface_speeds_eV_ang": "|dE/dk| on a Fermi surface, as its energies",
    "surface_spins": "⟨σ⟩ along `colour` on a Fermi surface, as its energies",
    "symmetry_error_eV": "largest deviation of H under the operations used",
    "tail_occupation": "how far states at the ends of what was computed are from full and empty",
    "target": "where it went",
    "temperature_K": "temperature of the occupations",
    "temperatures_K": "temperatures",
    "test": "structures for the test",
    "tile": "cells of a supercell along the lattice vectors",
    "title": "what a format is, in words",
    "trace_energy_density_S_eV": "Tr of the energy density matrix with S",
    "train": "structures for training",
    "undone": "whether the steps were taken back",
    "unit": "unit of the values",
    "units": "units of the matrices",
    "valence_charges_e": "valence charge of each species",
    "validate": "structures for validation",
    "vbm": "valence band maximum: energy_eV, k_frac, band, spin",
    "velocities_eV_ang": "dE/dk: spin channel, k-point, band, x y z",
    "versions": "versions of the code that are read and written",
    "wannier_centres_ang": "hybrid Wannier centres, along a lattice vector: channel, loop, band",
    "wannier_centres_frac": "hybrid Wannier centres in lattice vectors: spin channel, loop, band",
    "what": "what was checked",
    "window_eV": "energies that were compared, absolute",
    "within_levels": "what stands for the states of one level",
    "without_prediction": "names of reference structures without a prediction",
    "worst_mae_band_eV": "structure with the largest mae_band_eV",
    "worst_mae_dos": "structure with the largest mae_dos",
    "worst_mae_epsilon_2": "structure with the largest mae_epsilon_2",
    "worst_mae_hamiltonian_eV": "structure with the largest mae_hamiltonian_eV",
    "worst_mae_occupied_levels_eV": "structure with the largest mae_occupied_levels_eV",
    "worst_n_ghost_states": "structure with the largest n_ghost_states",
    "worst_rmse_state": "structure with the largest rmse_state",
    "write_spins": "treatments of spin that are written",
    "writes": "matrices that are written",
    "written_by": "program and version",
    "z2": "Z2 index of a plane, or (strong, three weak) of a crystal",
    "zeta": "number of a shell among those of one l in its atom, from 1",
}
"""What the keys of results mean."""


class Result(Drawn, ABC):
    """Base of the results; a subclass is a frozen dataclass with ``eq=False, repr=False``.

    How it is drawn is said by `dock.figure.Drawn`.

    Attributes
    ----------
    FILE
        Name of its file when none is given.
    BRIEF
        Whether its arrays are as short as its facts, so that every JSON has them.
    CONVENTIONS
        Units and conventions of its datasets: attributes of its HDF5 file, as (name, text).
    """

    FILE: ClassVar[str] = "result.h5"
    BRIEF: ClassVar[bool] = False
    CONVENTIONS: ClassVar[tuple[tuple[str, str], ...]] = ()

    _hamiltonian: ClassVar[str] = ""

    def made_from(self, hamiltonian: str) -> None:
        """Say of which Hamiltonian it is, by its hash; its HDF5 file then names it."""
        object.__setattr__(self, "_hamiltonian", hamiltonian)

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return numbers, words and short lists by key of the vocabulary; None where unknown."""

    @abstractmethod
    def rows(self) -> list[tuple[str, str]]:
        """Return what a table shows, as (name, text)."""

    def arrays(self) -> dict[str, Any]:
        """Return arrays, or lists of names, by key of the vocabulary."""
        return {}

    def datasets(self) -> dict[str, Any]:
        """Return what the HDF5 file holds; `arrays` unless a format prescribes other names."""
        return self.arrays()

    def write_hdf5(self, file: Any) -> None:
        """Write `datasets`, and `facts` and `CONVENTIONS` as attributes, into an open HDF5 file.

        Facts that are None, empty, or a dataset already (attributes end at 64 kB) are left out.
        """
        import h5py

        datasets = self.datasets()
        for name, value in datasets.items():
            array = np.asarray(value)
            if array.dtype.kind == "U":
                file.create_dataset(name, data=array.astype(object), dtype=h5py.string_dtype())
            else:
                file.create_dataset(name, data=value)
        for name, value in self.facts().items():
            if name in datasets or (isinstance(value, list) and not value):
                continue
            if isinstance(value, Mapping):
                file.attrs[name] = json_text(plain(value))
            elif value is not None:
                file.attrs[name] = value
        file.attrs["written_by"] = f"dock {__version__}"
        file.attrs.update(self.CONVENTIONS)

    def json(self, *, arrays: bool = True) -> dict[str, Any]:
        """Return the facts, and the arrays unless told otherwise, as plain data; NaN is None."""
        content = {name: plain(value) for name, value in self.facts().items()}
        if arrays or self.BRIEF:
            content.update((name, plain(value)) for name, value in self.arrays().items())
        return content

    def write_json(self, path: Path, *, overwrite: bool = False) -> None:
        """Write `json` into a file."""
        write_text(path, json_text(self.json()) + "\n", overwrite=overwrite)

    def table(self) -> str:
        """Return the rows as aligned columns."""
        return table([list(row) for row in self.rows()])

    @classmethod
    def files(cls, path: str | Path) -> list[Path]:
        """Return the files that `save` writes for a path; `UsageError` for one in ``.json``."""
        path = Path(path)
        if path.suffix == ".json":
            raise UsageError(f"{path}: name the HDF5 file; the .json comes beside it.")
        return [path, path.with_suffix(".json")]

    def save(self, path: str | Path | None = None, *, overwrite: bool = False) -> list[Path]:
        """Write an HDF5 file and a JSON file of the same name beside it; return both.

        Raises
        ------
        OutputError
            When a file exists or cannot be written; none is written then.
        """
        path, beside = self.files(self.FILE if path is None else path)
        require_absent([path, beside], overwrite=overwrite)
        with new_hdf5(path, overwrite=overwrite) as file:
            self.write_hdf5(file)
            if self._hamiltonian:
                file.attrs["hamiltonian_hash"] = self._hamiltonian
        self.write_json(beside, overwrite=overwrite)
        return [path, beside]

    def __repr__(self) -> str:
        """Return the class and the table's first rows on one line, long ones cut."""
        words = "; ".join(
            shorten(f"{name} {text}", 56, placeholder=" …") for name, text in self.rows()[:4]
        )
        return f"<{type(self).__name__}: {words}>"

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        return html_table(type(self).__name__, self.rows())


def plain(value: Any) -> Any:
    """Return a value as plain Python data: lists for arrays, None for NaN and infinity.

    Examples
    --------
    >>> plain({"x": np.array([1.0, np.nan]), "n": np.int64(2)})
    {'x': [1.0, None], 'n': 2}
    """
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            filled = value.astype(object)
            filled[~np.isfinite(value)] = None
            return filled.tolist()
        return value.tolist()
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not np.isfinite(value) else value


def table(rows: Sequence[Sequence[str]], head: Sequence[str] | None = None) -> str:
    """Return rows as aligned columns, under a head if given.

    Examples
    --------
    >>> print(table([["H", "1.5"], ["overlap", "2"]]))
    H        1.5
    overlap  2
    """
    everything = [head, *rows] if head else rows
    widths = [max(map(len, column)) for column in zip(*everything, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in everything
    ]
    if head:
        lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)
