"""`steer-anomaly verify`: whether a bundle scores on this machine as where it was exported."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(epilog="\b\nExample:\n  steer-anomaly verify bottle-bundle")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--threads", type=click.IntRange(1), metavar="N", help="Cores to use.  [default: all available]"
)
def verify(bundle: Path, threads: int | None) -> None:
    """Repeat the proof of BUNDLE on this machine, and say in which precision its processor really computes.

    Every file is checked against its hash; the pictures that the bundle was proven with are scored again and compared
    with what the original model said of them. Exits with 2 when they are not the same.
    """
    from anomaly import threads as cores
    from anomaly.bundle.exporting import verify as repeat
    from anomaly.errors import SteerAnomalyError

    cores.use(threads, torch_too=False)
    manifest, found = repeat(bundle)
    click.echo(
        f"{bundle}: {manifest.model['name']} for {manifest.object!r}, {manifest.precision} on {manifest.runtime}, "
        f"exported {manifest.created}"
    )
    if manifest.notice:
        click.echo(f"note: {manifest.notice}", err=True)
    for name, counted in found.precisions.items():
        click.echo(
            f"  {name}: " + ", ".join(f"{count} products in {kind}" for kind, count in counted.items())
        )
    click.echo(found.sentence())
    tolerance = float((manifest.parity or {}).get("tolerance", 0.0))
    if (wrong := found.failure(manifest.precision, tolerance)) is not None:
        raise SteerAnomalyError(
            f"this bundle does not score here as it did: {wrong}. Do not use it on this machine; export it here, or "
            "with --precision fp32"
        )
    click.echo("The bundle scores here as it did where it was exported.")
