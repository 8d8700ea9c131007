"""The card of a bundle: what it is, how it was trained and what was measured, written from the runs' result files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from tapehead.v1.manifest_pb2 import EntryTensor, Manifest, StateTensor

from .comparison import Group, comparison_table

BESIDE = {
    "curves.png": "Validation scores while training, as each configuration defines its score:",
    "sizes.png": "Beyond the sizes trained on; dotted is the median over seeds, where there are several:",
    "tasks.png": "Wrong answers by task, of the seed that validation chose:",
}
BESIDE_NOTES = """
All results on this task, of test data. Best is the seed that validation chose, median is over all seeds. Sequences and
seconds are of the best seed's run, on machines that did other work too; a run that starts from another's weights counts
only its own.
""".strip()


def write_card(
    manifest: Manifest,
    notes: str,
    results: Sequence[Mapping[str, Any]],
    remark: str,
    files: Mapping[str, bytes],
    beside: Sequence[Group] = (),
) -> str:
    """The card as Markdown: `notes` on the task, then what the runs' results and the bundle's files say.

    The first result is the shipped run's, the others are its siblings'; `remark` stands below them. `beside` are all
    networks with results on the same task, this one among them.
    """
    shipped = results[0]
    parts = [
        f"# {manifest.model_id}, version {manifest.version}",
        manifest.description,
        notes.strip(),
        "## Training",
        f"```\n{manifest.provenance.command}\n```",
        f"Update {shipped['best_update']} of {shipped['updates']} had the lowest validation score and is shipped; "
        f"{manifest.provenance.parameter_count:,} parameters, {shipped['seconds']:.0f} s on one core. "
        "`config.toml` is the complete configuration, `weights.safetensors` the weights to start from again:",
        f"```\npython -m training train CONFIG --from models/{manifest.model_id}/{manifest.version}\n"
        f"python -m training evaluate models/{manifest.model_id}/{manifest.version}\n```",
        "## Measured",
        "On data that neither trained the network nor chose its weights. The first column is the shipped run.",
        _results_table(results),
        remark,
        *(f"![{name}]({name})" for name in sorted(files) if name.endswith(".png") and name not in BESIDE),
        *_beside(beside, files),
        "## Graphs",
        _graphs_table(manifest, files),
        f"Largest difference between onnxruntime and PyTorch over all outputs and states, on real and on random input: "
        f"{manifest.provenance.export_difference:.2g}.",
        "## Inputs, outputs and state",
        "All tensors have a batch axis before the axes given here.",
        _tensors_table(manifest),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _beside(groups: Sequence[Group], files: Mapping[str, bytes]) -> list[str]:
    """The section on other networks; nothing where there are none."""
    if not groups:
        return []
    pictures = [f"{text}\n\n![{name}]({name})" for name, text in BESIDE.items() if name in files]
    return ["## Beside other networks", BESIDE_NOTES, comparison_table(groups), *pictures]


def _results_table(results: Sequence[Mapping[str, Any]]) -> str:
    names = results[0]["test"]
    head = "| | " + " | ".join(result["run"] for result in results) + " |"
    rows = [
        f"| {name.replace('_', ' ')} | "
        + " | ".join(f"{r['test'].get(name, float('nan')):.4g}" for r in results)
        + " |"
        for name in names
    ]
    rows.append("| validation score | " + " | ".join(f"{r['validation']['score']:.4g}" for r in results) + " |")
    rows.append("| seed | " + " | ".join(str(r["seed"]) for r in results) + " |")
    rows.append("| weights of update | " + " | ".join(str(r["best_update"]) for r in results) + " |")
    return "\n".join([head, "|---|" + "---|" * len(results), *rows])


def _graphs_table(manifest: Manifest, files: Mapping[str, bytes]) -> str:
    rows = ["| entry | file | nodes | opset | bytes |", "|---|---|---|---|---|"]
    for entry in manifest.entries:
        model = onnx.load_model_from_string(files[entry.file])
        facts = f"{len(model.graph.node)} | {model.opset_import[0].version} | {len(files[entry.file]):,}"
        rows.append(f"| `{entry.name}` | {entry.file} | {facts} |")
    return "\n".join(rows)


def _tensors_table(manifest: Manifest) -> str:
    rows = ["| tensor | role | shape | meaning |", "|---|---|---|---|"]
    for entry in manifest.entries:
        rows += [_row(tensor, f"input of {entry.name}") for tensor in entry.inputs]
        for tensor in entry.outputs:
            rows.append(_row(tensor, f"{'inspection output' if tensor.inspection else 'output'} of {entry.name}"))
    rows += [_row(state, "state") for state in manifest.state]
    return "\n".join(rows)


def _row(tensor: EntryTensor | StateTensor, role: str) -> str:
    return f"| `{tensor.name}` | {role} | {list(tensor.shape)} | {tensor.description} |"
