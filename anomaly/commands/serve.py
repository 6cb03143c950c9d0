"""`steer-anomaly serve`: a service with a page that judges pictures by profiles, keeps what came, and learns."""

from __future__ import annotations

from pathlib import Path

import click

from anomaly.commands.extras import need
from anomaly.commands.options import sink_option
from anomaly.commands.sections import SectionedCommand, in_section

files, network, limit, machine = (
    in_section(title) for title in ("Profiles and results", "Network", "Limits", "Model and machine")
)
PATH = click.Path(path_type=Path)


@click.command(
    cls=SectionedCommand,
    epilog="""\b
Example:
  steer-anomaly serve --profiles profiles/
  curl -F image=@part.jpg -F profile=flange http://127.0.0.1:8000/v1/inspect

docs/serve.md shows the rest: a client, tokens, feedback, versions.""",
)
@files(
    "--profiles",
    type=PATH,
    required=True,
    metavar="DIR",
    help="Profiles that `calibrate` wrote, or none yet.",
)
@files(
    "--data",
    type=PATH,
    metavar="DIR",
    help="Results, photographs, feedback.  [default: DIR/line of --profiles]",
)
@files(
    "--keep",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    metavar="N",
    help="Photographs of so many parts are kept; results, and pictures in use, always.",
)
@sink_option(files)
@network(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address; any but this machine's needs --token-file.",
)
@network(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 for any that is free."
)
@network("--token-file", type=PATH, metavar="FILE", help="Whoever asks must know what is in this file.")
@network(
    "--allow-host", "hosts", multiple=True, metavar="NAME", help="A name that browsers know this service by."
)
@network("--tls-certificate", type=PATH, metavar="FILE", help="PEM; then https, with --tls-key.")
@network("--tls-key", type=PATH, metavar="FILE", help="PEM.")
@limit("--queue", type=click.IntRange(1), default=64, show_default=True, help="Pictures that wait; then 429.")
@limit(
    "--max-body", type=click.IntRange(1), default=32, show_default=True, metavar="MB", help="Of one request."
)
@limit(
    "--max-pixels",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    metavar="MILLIONS",
    help="Of one picture.",
)
@machine(
    "--model",
    default="nano",
    show_default=True,
    metavar="NAME_OR_PATH",
    help="For parts judged by name, new profiles, and profiles of a checkpoint of your own; or a bundle.",
)
@machine("--trunk", metavar="FILE", help="Local weights for the model's trunk, in place of the hub's.")
@machine("--text-encoder", metavar="DIR", help="Local RoBERTa folder, in place of the hub's.")
@machine("--device", metavar="cpu|cuda|...", help="Where to run.  [default: cuda if there, else cpu]")
@machine(
    "--threads", type=click.IntRange(1), metavar="N", help="Cores to use.  [default: all, or OMP_NUM_THREADS]"
)
def serve(
    profiles: Path, data: Path | None, keep: int, sinks: tuple[str, ...], host: str, port: int, token_file: Path | None,
    hosts: tuple[str, ...], tls_certificate: Path | None, tls_key: Path | None, queue: int, max_body: int,
    max_pixels: int, model: str, trunk: str | None, text_encoder: str | None, device: str | None,
    threads: int | None,
) -> None:  # fmt: skip
    """Judge pictures that come over HTTP, and show them on a page.

    One model in memory; every answer is that of `inspect --profile`, and kept before it is given. People say on the
    page what was wrong, and profiles learn from it, version by version.
    """
    need("serve", "a service")
    from anomaly import threads as cores
    from anomaly.bundle.contents import is_bundle
    from anomaly.errors import SteerAnomalyError
    from anomaly.line.access import is_loopback, read_token
    from anomaly.line.limits import Limits
    from anomaly.line.service import Service
    from anomaly.line.serving import run
    from anomaly.line.shelf import Shelf

    token = read_token(token_file) if token_file else None
    if token is None and not is_loopback(host):
        raise SteerAnomalyError(
            f"expected --token-file beside --host {host}, which others can reach: write a token with `openssl rand "
            "-hex 32 > token` and give --token-file token"
        )
    if (tls_certificate is None) != (tls_key is None):
        raise SteerAnomalyError("expected --tls-certificate and --tls-key together, got one of them")
    if not is_loopback(host) and tls_certificate is None:
        click.echo(
            "warning: no TLS: token and pictures cross the network readable for everyone on it; give "
            "--tls-certificate and --tls-key, or put a proxy with TLS in front", err=True,
        )  # fmt: skip
    computing = cores.use(threads, torch_too=not is_bundle(model))  # where bundles run there may be no torch
    limits = Limits(body=max_body << 20, waiting=queue, pixels=max_pixels * 10**6)
    shelf = Shelf(
        profiles, model=model, trunk=trunk, text_encoder=text_encoder, device=device, objects=limits.objects
    )
    folder, told = data or profiles / "line", None
    if sinks:
        from anomaly.line.outbox import open_sinks

        told = open_sinks(sinks, folder, lambda text: click.echo(text, err=True))
    service = Service(shelf, folder, limits, keep, told, computing)
    run(service, host, port, token=token, hosts=hosts, certificate=tls_certificate, key=tls_key)
