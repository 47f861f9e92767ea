"""Hold the tables of attempts against the contract of the stages' tables."""

from ml.features.output_checks import check_references, check_table, read_tables
from ml.features.outputs import OUTPUTS


def faults_of(*manifests):
    """What of the tables of attempts breaks the contract, with the tables that are not declared or not there."""
    tables = {(m.stage, name): table for m in manifests for name, table in read_tables(m).items()}
    stages = {manifest.stage for manifest in manifests}
    due = {key for key, contract in OUTPUTS.items() if key[0] in stages and not contract.only_with}
    found = [f"{stage}.{name}: not declared" for stage, name in tables.keys() - OUTPUTS.keys()]
    found += [f"{stage}.{name}: missing" for stage, name in due - tables.keys()]
    for key in tables.keys() & OUTPUTS.keys():
        found += check_table(tables[key], OUTPUTS[key])
        if all(reference.stage in stages for reference in OUTPUTS[key].references):
            found += check_references(OUTPUTS[key], tables)
    return sorted(found)
