"""Read what a `mirror.toml` says about a deployment."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from dynamirror.deployment.applicable import check_applicable
from dynamirror.deployment.identity import CREATED, Identity
from dynamirror.deployment.overrides import Override, override
from dynamirror.deployment.sections import (
    MAX_NAME_LENGTH,
    Alarms,
    Audit,
    CacheSection,
    Canary,
    Functions,
    Inspector,
    MirrorSection,
    NetworkSection,
    RecoverySection,
    Replicator,
    Simulator,
)
from dynamirror.deployment.tables import DeployedTable, read_tables
from dynamirror.errors import ConfigError
from dynamirror.settings import read_text
from dynamirror.validation import explain, is_flag
from dynamirror.views.mirror_toml import parse_tables, parse_views, read_document
from dynamirror.views.view import ViewSpec

_DEMO_NAME: Final = "demo"
_FLAGS: Final = {"yes": "true", "no": "false"}


class Sections(msgspec.Struct, frozen=True):
    """The sections of the file; `views.mirror_toml` checks the rest."""

    mirror: MirrorSection = MirrorSection()
    network: NetworkSection = NetworkSection()
    cache: CacheSection = CacheSection()
    functions: Functions = Functions()
    replicator: Replicator = Replicator()
    recovery: RecoverySection = RecoverySection()
    audit: Audit = Audit()
    canary: Canary = Canary()
    inspector: Inspector = Inspector()
    simulator: Simulator = Simulator()
    alarms: Alarms = Alarms()


class Deployment(Sections, frozen=True, kw_only=True):
    """All that describes the deployment of a mirror.

    Args:
        path: path of the `mirror.toml`; None for none.
        tables: tables of the mirror.
        views: views of the mirror.
    """

    path: str | None
    tables: tuple[DeployedTable, ...]
    views: tuple[ViewSpec, ...]

    @property
    def stack_name(self) -> str:
        """Return the name of the mirror's stack."""
        return self.mirror.stack or f"Dynamirror-{self.mirror.name}"

    @property
    def identity(self) -> Identity:
        """Return what no deployment under the same name may change."""
        existing = self.cache.existing
        return Identity(
            tables={table.name or CREATED: table.keys for table in self.tables},
            cache=existing.kind if existing else self.cache.kind,
            existing_cache=existing.name if existing else None,
            created=tuple(
                table.name or CREATED for table in self.tables if table.stream_arn is None
            ),
            retain=self.mirror.retain,
            fixed=self._fixed(),
        )

    def _fixed(self) -> dict[str, str]:
        """Return the fields for which CloudFormation would have to replace the cache.

        It refuses to replace a resource that has a name, as the caches have.
        """
        if self.cache.existing is not None:
            return {}
        network = self.network
        fixed = {
            "network.vpc_id": network.vpc_id or "",
            "network.public": str(network.public).lower(),
            "cache.kms_key_arn": self.cache.kms_key_arn or "",
        }
        if self.mirror.stack:
            # The name of the cache follows from it; a packaged template has it from a parameter.
            fixed["mirror.stack"] = self.mirror.stack
        if self.cache.kind == "serverless":
            # Subnets that are looked up are not known here.
            if network.subnet_ids:
                fixed["network.subnet_ids"] = ", ".join(sorted(network.subnet_ids))
            elif not network.vpc_id and not network.public:
                fixed["network.max_azs"] = str(network.max_azs)
        return fixed

    @property
    def is_demo(self) -> bool:
        """Return whether the only table is one that no file and no option names."""
        return self.tables[0].name is None

    @property
    def has_simulator(self) -> bool:
        """Return whether there is a simulator of changes."""
        enabled = self.simulator.enabled
        return self.is_demo if enabled is None else enabled

    @property
    def canary_tables(self) -> tuple[DeployedTable, ...]:
        """Return the tables to which a canary writes."""
        if self.canary.enabled is None:
            # The type is unknown for an existing table only.
            return tuple(
                table
                for table in self.tables
                if table.stream_arn is None and (table.types or ("S",))[0] == "S"
            )
        return self.tables if self.canary.enabled else ()


def read_deployment(path: str | None, context: Mapping[str, str] | None = None) -> Deployment:
    """Read a `mirror.toml` as the description of a deployment.

    Args:
        path: path of the file; None for the default of everything.
        context: CDK context by name, which overrides single values; `overrides.NAMES` are read.

    Raises:
        ConfigError: the file or an override is wrong; names the file, the field and what to do.
    """
    text = "" if path is None else read_text(path)
    source = path or "mirror.toml"
    document = {} if path is None else read_document(text, source)
    overrides = override(context or {})
    sections = _sections(document, overrides, source)
    specs = () if path is None else parse_tables(text, source)
    tables = read_tables(specs, overrides, source)
    views = (ViewSpec(),) if path is None else parse_views(text, source)
    _check_view_tables(views, tables, source)
    values = {name: getattr(sections, name) for name in Sections.__struct_fields__}
    values["mirror"] = _named(sections.mirror, tables, source)
    deployment = Deployment(path=path, tables=tables, views=views, **values)
    check_applicable(deployment, document, overrides.sections, source)
    _check_canary(deployment, source)
    _check_removed(deployment, source)
    _check_network(deployment, source)
    return deployment


def check_sections(path: str) -> None:
    """Check the sections of a `mirror.toml` that describe a deployment.

    Raises:
        ConfigError: one is wrong; names the file, the field and what it must be.
    """
    _file_sections(read_document(read_text(path), path), path)


def _named(mirror: MirrorSection, tables: tuple[DeployedTable, ...], source: str) -> MirrorSection:
    if mirror.name:
        return mirror
    if len(tables) > 1:
        raise ConfigError(
            f"{source}: mirror.name: is missing; a mirror of several tables needs a name, as in "
            '[mirror] name = "shop"'
        )
    table = tables[0].name
    if table is None:
        return msgspec.structs.replace(mirror, name=_DEMO_NAME)
    words = re.sub(r"[^a-z0-9]+", "-", table.lower()).strip("-")
    name = words[:MAX_NAME_LENGTH].rstrip("-")
    if not re.match("[a-z]", name):
        raise ConfigError(
            f"{source}: mirror.name: is missing, and the name of table {table} does not begin with "
            'a letter; set a name, as in [mirror] name = "shop"'
        )
    return msgspec.structs.replace(mirror, name=name)


def _check_view_tables(
    views: tuple[ViewSpec, ...], tables: tuple[DeployedTable, ...], source: str
) -> None:
    names = [table.name for table in tables if table.name]
    for view in views:
        if view.table and view.table not in names:
            remedy = f"its tables are {', '.join(names)}" if names else "add a [[table]] for it"
            raise ConfigError(
                f"{source}: view {view.name}: table: {view.table!r} is no table of this mirror; "
                f"{remedy}"
            )


def _check_canary(deployment: Deployment, source: str) -> None:
    for table in deployment.canary_tables:
        if table.types and table.types[0] != "S":
            raise ConfigError(
                f"{source}: canary.enabled: table {table.name} has a partition key of type "
                f"{table.types[0]}, and a canary needs S; set enabled = false"
            )


def _check_removed(deployment: Deployment, source: str) -> None:
    for table in deployment.tables:
        if table.name in deployment.mirror.removed_tables:
            raise ConfigError(
                f"{source}: mirror.removed_tables: names {table.name}, which is a table of this "
                "mirror; take it out of the list"
            )


def _check_network(deployment: Deployment, source: str) -> None:
    existing, network = deployment.cache.existing, deployment.network
    kind = existing.kind if existing else deployment.cache.kind
    if network.public and kind == "node-based":
        raise ConfigError(
            f"{source}: network.public: applies only to serverless caches, because nodes have no "
            "public endpoint; set network.vpc_id instead"
        )
    if existing is None:
        return
    if network.public and existing.security_group_id:
        raise ConfigError(
            f"{source}: cache.existing.security_group_id: applies only with network.vpc_id, "
            "because a public cache has no security group"
        )
    if not network.public and network.vpc_id is None:
        raise ConfigError(
            f"{source}: network.vpc_id: is missing; set it to the VPC of the existing cache, which "
            "a new VPC does not reach"
        )


def _file_sections(document: Mapping[str, Any], source: str) -> None:
    try:
        msgspec.convert(document, Sections)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {explain(str(error), Sections, document)}") from None


def _sections(document: Mapping[str, Any], overrides: Override, source: str) -> Sections:
    # The file alone, so that an error names its place.
    _file_sections(document, source)
    merged = {
        name: {**document.get(name, {}), **_flags(name, overrides.sections.get(name, {}))}
        for name in Sections.__struct_fields__
        if name in document or name in overrides.sections
    }
    try:
        return msgspec.convert(merged, Sections, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"context: {overrides.explain(str(error), Sections)}") from None


def _flags(section: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with other words for true and false replaced."""
    return {
        name: _FLAGS[value.lower()]
        if isinstance(value, str) and value.lower() in _FLAGS and is_flag(Sections, section, name)
        else value
        for name, value in fields.items()
    }
