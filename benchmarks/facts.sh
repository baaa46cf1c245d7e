# Commands that same_facts.py runs with two versions of dock, beside those of the documentation: every
# command with most of its options, on the bundled data. A line of # and = opens a group; a group has a
# fresh folder with fixtures/ and examples/, and its commands run one after another, whatever they end with.

#= formats
dock --version
dock formats
dock formats --json
dock info fixtures/openmx/h2o
dock info fixtures/openmx/co-f
dock info fixtures/openmx/o2-spin
dock info fixtures/openmx/o2-nc-soc --json
dock info fixtures/openmx/graphene-v38
dock info fixtures/siesta/graphene --from siesta --json
dock info fixtures/siesta/o2
dock info fixtures/abacus/graphene --json
dock info fixtures/abacus/si2_get_S
dock info fixtures/pyscf/h2o/h2o.chk --json
dock info fixtures/qe/fe --json
dock info fixtures/qe/ge_soc
dock info fixtures/unified/si
dock check fixtures/openmx --json
dock check fixtures/siesta/graphene fixtures/siesta/h2o fixtures/siesta/h2o_v0 fixtures/siesta/o2
dock check fixtures/abacus/graphene fixtures/pyscf/h2o/h2o.chk
dock diff fixtures/openmx/h2o fixtures/openmx/h2o-v38 --rows 3
dock diff fixtures/water/000 fixtures/water/000/hamiltonian.h5 --json
dock diff fixtures/siesta/h2o fixtures/siesta/h2o_v0

#= help
dock --help
dock convert --help
dock info --help
dock check --help
dock diff --help
dock formats --help
dock compute-overlap --help
dock bands --help
dock fermi --help
dock dos --help
dock density-matrix --help
dock populations --help
dock charge-density --help
dock wavefunction --help
dock unfold --help
dock train --help
dock infer --help
dock model info --help
dock model export --help
dock evaluate --help
dock align --help
dock dataset features --help
dock dataset split --help
dock dataset stats --help
dock equivariance generate --help
dock equivariance test --help
dock build perturb --help
dock build shift-layers --help
dock build supercell --help
dock build twisted-bilayer --help

#= from every code
dock convert fixtures/siesta/graphene -o siesta/graphene --json
dock convert fixtures/siesta/o2 --from siesta -o siesta/o2
dock convert fixtures/siesta/h2o -o siesta/h2o --single-precision
dock convert fixtures/siesta/h2o_v0 -o siesta/v0 --matrices H,S
dock convert fixtures/abacus/graphene -o abacus/graphene
dock convert fixtures/abacus/si2_get_S -o abacus/si -q
dock convert fixtures/pyscf/h2o/h2o.chk -o pyscf/h2o --json
dock convert fixtures/qe/fe -o qe/fe
dock convert fixtures/qe/ge_soc -o qe/ge_soc --json
dock convert fixtures/qe/ge_spin -o qe/ge_spin
dock convert 'fixtures/openmx/*' -o many --dry-run --json
dock convert 'fixtures/openmx/*' -o many --shard 1/3 -j 1 --json
dock convert fixtures/openmx -o many --matrices H,S -j 1 --json
dock convert fixtures/openmx -o all --matrices H,S -j 1
dock convert fixtures/openmx -o all --matrices H,S -j 1 --json
dock check all --json

#= plane waves
python <<'PY'
import numpy as np

r = np.linspace(0, 8, 801)
lines = ["Element Ge", "Energy Cutoff(Ry) 100", "Radius Cutoff(a.u.) 8.0", "Lmax 2"]
lines += [f"Number of {l}orbital--> {n}" for l, n in zip("SPD", (3, 3, 1))]
lines += ["SUMMARY  END", "", "Mesh 801", "dr 0.01"]
for l, n in ((0, 3), (1, 3), (2, 1)):
    for i in range(n):
        values = r**l * np.exp(-0.1 * 2.2**i * r * r) * (1 - (r / 8) ** 2) ** 2
        values /= np.sqrt(np.trapezoid((values * r) ** 2, r))
        lines += ["Type L N", f"0 {l} {i}", *map("{:.14e}".format, values)]
open("Ge.orb", "w").write("\n".join(lines) + "\n")
PY
mkdir orbitals && mv Ge.orb orbitals
dock convert fixtures/qe/ge_spin/ge_spin.save --basis orbitals --quality -o vsc --json
dock convert fixtures/qe/ge_spin/ge_spin.save --basis orbitals --potential density -o density
dock convert fixtures/qe/ge_spin --from qe --basis orbitals --set cutoff=none --set quality=none -o whole --json
dock convert fixtures/qe/ge_soc --basis orbitals -o soc
dock convert fixtures/qe/si/si.save --basis fixtures/qe/si_3s3p2d --potential density -o si
dock info vsc --json
dock diff vsc density
dock charge-density whole --basis orbitals --mesh 1 1 1 --spacing 0.25 -o whole/charge_density.h5
dock convert whole --from qe-folder --to qe --set like=fixtures/qe/ge_spin/ge_spin.save -o out/ge_spin.save

#= to every code
dock convert fixtures/openmx/o2-spin -o o2 -q
dock convert fixtures/openmx/o2-nc-soc -o soc -q
dock convert fixtures/unified/si --to openmx --matrices H,S,DM -o si-openmx --json
dock convert fixtures/unified/si --to openmx-restart --matrices H,S,DM --set grid=20,20,20 -o si-restart
dock convert fixtures/unified/si --to aims --matrices H,S -o si-aims
dock convert fixtures/unified/si --to siesta --matrices H,S,DM -o si-siesta
dock convert fixtures/unified/si --to siesta --matrices H,S --set version=1 -o si-hsx1
dock convert fixtures/unified/si --to siesta --matrices H,S --set version=0 -o si-hsx0
dock convert fixtures/unified/si --to pyscf --matrices H,S --set mesh=2,2,2 -o si-pyscf
dock convert fixtures/unified/si --to deeph-legacy --matrices H,S,DM -o si-legacy
dock convert o2 --to openmx --matrices H,S,DM -o o2-openmx
dock convert o2 --to siesta --matrices H,S,DM -o o2-siesta
dock convert o2 --to abacus --matrices H,S -o o2-abacus
dock convert o2 --to aims --matrices H,S -o o2-aims
dock convert o2 --to deeph-legacy --matrices H,S -o o2-legacy
dock convert o2 --to npz --matrices H,S,DM -o o2-npz -q
dock convert o2 --to petsc --matrices H,S,DM -o o2-petsc
dock convert o2 --to wannier90 --matrices H,S --set mesh=2,2,2 --set name=o2 -o o2-w90
dock convert soc --to openmx --matrices H,S -o soc-openmx
dock convert soc --to siesta --matrices H,S -o soc-siesta
dock convert soc --to abacus --matrices H,S -o soc-abacus
dock convert soc --to deeph-legacy --matrices H,S -o soc-legacy
dock convert soc --to npz --matrices H,S -o soc-npz -q
dock convert soc --to petsc --matrices H,S -o soc-petsc
dock convert soc --to wannier90 --matrices H,S --set mesh=3,3,3 --set tb=yes -o soc-w90
dock convert fixtures/abacus/graphene --from abacus --to abacus -o abacus --json
dock convert fixtures/openmx/h2o --to sisl --matrices H,S --set file=HSX -o h2o-sisl --json
dock convert fixtures/openmx/h2o --to pyscf --matrices H,S,DM -o h2o-pyscf
dock diff o2 o2-siesta
dock diff soc soc-openmx --json
dock diff fixtures/unified/si si-aims

#= bands
dock convert fixtures/openmx/mos2 -o mos2 -q
dock convert fixtures/openmx/o2-spin -o o2 -q
dock convert fixtures/openmx/o2-nc-soc -o soc -q
dock bands fixtures/openmx/si --json --points 8 -o si.h5 --plot si.png
dock bands mos2 --path GMKG --points 8 --plot mos2.png
dock bands mos2 --path GMKG --points 6 --window -4 3 --json -o window.h5
dock bands mos2 --path GMKG --points 6 --states 6 --around 1 --json -o states.h5
dock bands mos2 --path GMKG --points 6 --states 6 -o six.h5 --plot six.png
dock bands mos2 --path GM --points 4 --project species,l --plot fat.png -o fat.h5
dock bands mos2 --path GM --points 3 --project atom,shell,l,m --scheme lowdin --json -o m.h5
dock bands mos2 --path GM --points 3 --project species --window -3 2 --json -o fat-window.h5
dock bands o2 --json --project atom,spin
dock bands soc --points 4 --project atom,l,spin --scheme lowdin -o soc/fat.h5 --plot soc.png
dock bands soc --points 4 --json --electrons 12 -o soc/electrons.h5
dock bands soc --points 4 --json --fermi -3.5 -o soc/fermi.h5
dock bands fixtures/siesta/graphene --path GMK --points 8 --plot graphene.png -o graphene.h5
dock bands fixtures/siesta/o2 --points 4 --json -o o2-siesta.h5 --plot o2.png
dock bands fixtures/water/000 --compare fixtures/water/001 --plot compare.png --json -o compare.h5
dock bands fixtures/unified/si --path LGX --points 8 --s-threshold 0.01 -o threshold.h5
dock bands fixtures/unified/si --path LGX --points 8 --compare fixtures/openmx/si --plot two.png -o two.h5
printf '10 0 0 0 0.5 0 0.5 G X\n6 0.5 0 0.5 0.5 0.5 0.5 X L\n' > K_PATH
dock bands fixtures/unified/si --path K_PATH --json -o file.h5

#= fermi
dock convert fixtures/openmx/mos2 -o mos2 -q
dock convert fixtures/openmx/o2-spin -o o2 -q
dock convert fixtures/openmx/o2-nc-soc -o soc -q
mkdir a b c d e f g h i j k l
dock fermi fixtures/siesta/graphene --mesh 6 6 1 --json -o a/fermi_energy.json --plot a/fermi.png
dock fermi fixtures/siesta/graphene --mesh 6 6 1 --smearing gaussian --width 0.1 -o a/fermi_energy.json --overwrite
dock fermi fixtures/siesta/graphene --mesh 6 6 1 --smearing methfessel-paxton --width 0.1 --order 2 --json -o b/fermi_energy.json
dock fermi fixtures/siesta/graphene --mesh 6 6 1 --smearing cold --width 0.1 -o c/fermi_energy.json
dock fermi fixtures/siesta/graphene --mesh 6 6 1 --smearing tetrahedra --json -o d/fermi_energy.json --plot d/fermi.png
dock fermi mos2 --mesh 3 3 1 --symmetry time-reversal -o e/fermi_energy.json
dock fermi mos2 --mesh 3 3 1 --symmetry none -o f/fermi_energy.json --json
dock fermi fixtures/unified/si --mesh 3 3 3 --centring monkhorst-pack -o g/fermi_energy.json --json
dock fermi fixtures/unified/si --mesh 3 3 3 --centring openmx -o h/fermi_energy.json
dock fermi fixtures/unified/si --spacing 0.4 --shift 0.5 0 0.5 -o i/fermi_energy.json
dock fermi fixtures/unified/si --mesh 2 2 2 --temperature 1000 --electrons 7.5 --json -o j/fermi_energy.json
dock fermi fixtures/unified/si --mesh 2 2 2 --s-threshold 0.01 --symmetry-tolerance 1e-3 -o k/fermi_energy.json
dock fermi o2 --json
dock fermi o2 --electrons 11 --overwrite
dock fermi soc --mesh 3 1 1 --json
dock fermi fixtures/pyscf/h2o/h2o.chk -o l/fermi_energy.json

#= dos
dock convert fixtures/openmx/mos2 -o mos2 -q
dock convert fixtures/openmx/o2-spin -o o2 -q
dock convert fixtures/openmx/o2-nc-soc -o soc -q
dock dos mos2 --mesh 4 4 1 --project species,l --window -8 5 --plot dos.png --json
dock dos mos2 --mesh 3 3 1 --project atom,shell,l,m --scheme lowdin --window -4 4 --step 0.05 -o m.h5
dock dos mos2 --mesh 3 3 1 --smearing gaussian --width 0.1 --step 0.05 --json -o gauss.h5
dock dos mos2 --mesh 3 3 1 --smearing cold --width 0.1 --step 0.05 --symmetry none -o cold.h5
dock dos mos2 --mesh 3 3 1 --coop 1-2 --coop 1-3@0,0,0 --window -8 4 --step 0.05 --json -o coop.h5 --plot coop.png
dock dos mos2 --mesh 3 3 1 --cohp 1-2@0,0,0 --cohp 1-3 --window -8 4 --step 0.05 -o cohp.h5
dock dos o2 --project atom,spin --step 0.05 --plot o2.png
dock dos o2 --coop 1-2 --step 0.05 -o bond.h5 --json
dock dos soc --mesh 3 1 1 --project atom,l,spin --step 0.05 --window -6 3 --json
dock dos fixtures/siesta/graphene --mesh 6 6 1 --smearing methfessel-paxton --width 0.2 --step 0.05 -o graphene.h5
dock dos fixtures/unified/si --mesh 2 2 2 --electrons 7 --s-threshold 0.01 --step 0.1 -o si.h5 --json
dock dos fixtures/unified/si --mesh 3 3 3 --smearing fermi-dirac --temperature 600 --step 0.1 -o hot.h5

#= density matrix
dock convert fixtures/openmx/o2-spin -o o2 -q
dock convert fixtures/openmx/o2-nc-soc -o soc -q
dock density-matrix fixtures/unified/si --mesh 3 3 3 --energy-weighted --json -o si.h5
dock density-matrix fixtures/unified/si --mesh 2 2 2 --method poles -o poles.h5
dock density-matrix fixtures/openmx/h2o --method poles --poles 30 --energy-weighted --json -o h2o.h5
dock density-matrix fixtures/siesta/graphene --mesh 4 4 1 --smearing gaussian --width 0.2 -o graphene
dock density-matrix o2 -o o2-rho --json
dock density-matrix o2 --method poles -o o2-poles.h5
dock density-matrix soc --mesh 3 1 1 --symmetry none -o soc-rho.h5
dock density-matrix soc --mesh 3 1 1 --method poles -o soc-poles.h5 --json
dock populations fixtures/unified/si --mesh 3 3 3 --scheme lowdin --json -o si-lowdin.h5
dock populations fixtures/openmx/h2o --stored -o h2o-pop.h5 --plot h2o.png
dock populations o2 --stored --json
dock populations o2 --scheme lowdin -o o2-lowdin.h5 --plot o2.png
dock populations soc --mesh 3 1 1 --json -o soc-pop.h5
dock populations soc --stored -o soc-stored.h5
dock populations fixtures/siesta/graphene --mesh 4 4 1 --smearing tetrahedra -o graphene-pop.h5
dock check o2-rho graphene

#= grids
dock charge-density fixtures/siesta/graphene --basis fixtures/siesta/graphene --grid 12 12 60 -o rho.h5 --plot rho.png --json
dock charge-density fixtures/siesta/graphene --basis fixtures/siesta/graphene --spacing 0.3 -o values.cube
dock charge-density fixtures/siesta/graphene --basis fixtures/siesta/graphene --spacing 0.3 --oversample 2 -o fine.xsf
dock charge-density fixtures/siesta/graphene --basis fixtures/siesta/graphene --spacing 0.3 --window -2 0 --mesh 3 3 1 -o ldos.cube --json
dock charge-density fixtures/siesta/graphene --basis fixtures/siesta/graphene --spacing 0.4 --recompute --mesh 3 3 1 --electrons 8 -o new.h5
dock wavefunction fixtures/siesta/graphene --basis fixtures/siesta/graphene --k 0.5 0 0 --spacing 0.4 -o psi.cube
dock wavefunction fixtures/siesta/graphene --basis fixtures/siesta/graphene --k 0.5 0 0 --bands 2-3,5 --periodic --grid 8 8 40 -o u.h5 --json
dock wavefunction fixtures/siesta/graphene --basis fixtures/siesta/graphene --bands vbm --electrons 8 --spacing 0.4 -o vbm.xsf
dock wavefunction fixtures/openmx/o2-spin -o o2.h5 --json
dock wavefunction fixtures/openmx/o2-spin --bands 5-8 -o some.h5
dock wavefunction fixtures/openmx/o2-nc-soc --k 0.25 0 0 --bands 10-13 -o soc.h5 --json
dock wavefunction fixtures/openmx/o2-nc-soc --k 0.25 0 0 --bands vbm,cbm -o edges.h5
dock wavefunction fixtures/unified/si --mesh 2 2 2 --bands 1-5 -o si.h5 --json

#= unfold
python <<'PY'
import dock

runs = {"siesta/graphene": [2, 2, 1], "openmx/o2-nc-soc": [2, 1, 1], "openmx/si": [2, 1, 1]}
for name, counts in runs.items():
    calc = dock.read(f"fixtures/{name}")
    H, S = (calc.require(quantity).supercell(counts) for quantity in ("hamiltonian", "overlap"))
    matrices = {"hamiltonian": H, "overlap": S}
    big = dock.Calculation(H.structure, H.basis, H.spin, matrices, calc.fermi_level)
    dock.write(big, name.split("/")[1])
PY
dock convert fixtures/siesta/graphene -o layer -q
dock unfold graphene --primitive layer/POSCAR --path GMKG --points 6 --layers --window -8 6 --plot map.png --json
dock unfold graphene --supercell '2 2 1' --path GM --points 5 --method functions --basis fixtures/siesta/graphene -o functions.h5
dock unfold graphene --supercell '2 0 0 0 2 0 0 0 1' --path GM --points 4 --atoms 1-3 --tolerance 0.3 --sigma 0.1 -o atoms.h5 --json
dock unfold o2-nc-soc --supercell '2 1 1' --points 4 --fermi -3.5 -o soc.h5 --json
dock unfold si --supercell '2 1 1' --path GX --points 5 --s-threshold 0.001 -o si.h5

#= closed forms
cat > three.toml <<'TOML'
[data]
inputs_dir = "fixtures/water"
outputs_dir = "run"
[model]
backend = "three-centre"
[process.train.dataloader]
dataset_split_json = "fixtures/water/split.json"
TOML
sed 's/three-centre/two-centre/; s/"run"/"run2"/' three.toml > two.toml
dock train three.toml --check --json
dock train three.toml --json
dock train two.toml
dock train three.toml
dock model info run
dock model info run2 --json
mkdir new set && for n in 050 053 055; do mkdir new/$n && cp fixtures/water/$n/{POSCAR,info.json,overlap.h5} new/$n && cp -r fixtures/water/$n set/$n; done
dock infer run new -o out --json
dock infer run2 new
dock infer run new/055 --ensemble run2 --single-precision -o both --json
dock infer run new -o out
dock evaluate out set --states 4 4 --plot --json
dock evaluate out set -o window
dock evaluate new set --matrix-only --only-overlapping --json -o matrix
dock evaluate out/055 set/055 --mesh 1 1 1 --fermi -5 --width 10 --min-bands 4 --sigma 0.1 -o one --json
dock bands out/055 --compare set/055 --plot levels.png --json
dock diff out/055/hamiltonian_pred.h5 set/055 --rows 4
dock align out/055/hamiltonian_pred.h5 --to set/055 -o aligned --json
dock align set/055 -o same_zero --json
dock align same_zero --undo -o undone
dock diff set/055 undone
dock equivariance generate set/055 -o turned --count 3 --improper --seed 3 --json
dock infer run turned
dock equivariance test turned --json
dock equivariance test turned --file hamiltonian.h5 --original 1
dock equivariance test turned --tolerance 1e-12

#= data sets
dock convert fixtures/openmx -o set --matrices H,S -q -j 1
dock dataset split fixtures/water --json -o split.json
dock dataset split set --ratios 0.5 0.25 0.25 --seed 3 --by-formula
dock dataset stats set --plot stats.png
dock dataset stats fixtures/water --json -o stats.json
dock dataset features fixtures/water --json -o features.json
dock dataset features fixtures/water -o again.json

#= overlaps and structures
dock build twisted-bilayer --layer graphene --m 1 -o moire/POSCAR --json
dock build twisted-bilayer --layer MoS2 --m 1 --n 3 --distance 3 --vacuum 15 --strain both -o mos2/POSCAR
dock build twisted-bilayer --bottom moire/POSCAR --top moire/POSCAR --integers 1 0 0 1 1 0 0 1 -o four/POSCAR --json
dock build supercell fixtures/unified/si/POSCAR 2 1 1 -o super/POSCAR --json
dock build supercell fixtures/unified/si/POSCAR -o nine/POSCAR -- 1 1 0 -1 1 0 0 0 1
dock build perturb super/POSCAR --amplitude 0.1 --strain 0.01 --count 3 --seed 5 -o set --json
dock build shift-layers moire/POSCAR 0.25 0.5 0.1 --layer 0 --gap 2 -o shifted/POSCAR --json
dock compute-overlap moire/POSCAR --basis fixtures/siesta/graphene --json -j 1
dock compute-overlap moire --basis fixtures/siesta/graphene --quantities T,r,dS,dT --pairs kb -j 1
dock compute-overlap moire --basis fixtures/siesta/graphene --single-precision --code siesta -o single.h5 -j 1 --json
dock compute-overlap super/POSCAR --basis fixtures/qe/si_3s3p2d --quantities S,T -o super/overlap.h5 -j 1
dock compute-overlap super --basis fixtures/qe/si_3s3p2d --pairs super/overlap.h5 --quantities dS -o super/again.h5 -j 1 --json
dock check moire --json
dock info super

#= refusals
dock bands nowhere
dock bands fixtures/openmx/si --path QQQ
dock bands fixtures/openmx/si -o nowhere/band.h5
dock convert fixtures/unified/si -o fixtures/unified/si
dock convert fixtures/openmx/si --to abacus --matrices r -o no
dock convert fixtures/openmx/h2o --to wannier90 --matrices H,DM -o w90
dock convert fixtures/openmx --shard 3/3 -o no
dock convert fixtures/openmx/si --set nonsense=1 -o no
dock convert fixtures/unified/si --to pyscf --matrices H,S -o arrays
dock fermi fixtures/unified/si
dock fermi fixtures/unified/si --mesh 2 2 2 --width 0.1 --temperature 300
dock dos fixtures/unified/si --mesh 2 2 2 --project colour
dock dos fixtures/unified/si --mesh 2 2 2 --cohp 1-9
dock dos fixtures/unified/si --mesh 2 2 2 --window 5 -5
dock dos fixtures/unified/si --mesh 2 2 2 --coop 1-2 --cohp 1-2
dock populations fixtures/water/000 --stored
dock charge-density fixtures/openmx/h2o
dock charge-density fixtures/openmx/h2o --basis fixtures/siesta/graphene
dock wavefunction fixtures/unified/si --bands 99 -o no.h5
dock unfold fixtures/unified/si --supercell '2 2 2'
dock evaluate fixtures/water/000 fixtures/water/001
dock evaluate fixtures/water/000 fixtures/water/000 --fermi 0 --electrons 8
dock align fixtures/unified/si --undo -o no
dock dataset split nowhere
dock dataset features fixtures/openmx
dock infer fixtures/unified/si fixtures/unified/si
dock train nowhere.toml
dock compute-overlap fixtures/unified/si/POSCAR --basis fixtures/siesta/graphene
dock build supercell fixtures/unified/si/POSCAR 1 0 0
head -c 20000 fixtures/openmx/h2o/h2o.scfout > cut.scfout
dock info cut.scfout
dock convert cut.scfout -o cut
head -c 3000 fixtures/unified/si/hamiltonian.h5 > fixtures/unified/si/hamiltonian_pred.h5
dock bands fixtures/unified/si/hamiltonian_pred.h5

#= network
dock train examples/water.toml
dock model info water_run --json
dock model export water_run -o water.stablehlo.h5
dock infer water_run fixtures/water/055 -o predicted --json
dock infer water.stablehlo.h5 fixtures/water/055 -o exported
dock evaluate predicted fixtures/water/055 --states 4 4 --json
