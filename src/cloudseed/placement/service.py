"""Placement, assembled: database, policy, the picture in memory and the URL table."""

from __future__ import annotations

from dataclasses import dataclass, field

from cloudseed.kernel.db import Database, Tx
from cloudseed.kernel.http import faults
from cloudseed.kernel.http.app import make_app
from cloudseed.kernel.http.edge import Mount
from cloudseed.kernel.http.microversion import Microversions
from cloudseed.kernel.policy import Policy
from cloudseed.kernel.runtime import Environment, Service
from cloudseed.placement import changes, ledger, models, vocabulary
from cloudseed.placement.api import (
    aggregates,
    allocation_candidates,
    allocations,
    inventories,
    reshaper,
    resource_classes,
    resource_providers,
    root,
    traits,
    usages,
    wire,
)
from cloudseed.placement.changes import Counters
from cloudseed.placement.picture import Picture
from cloudseed.placement.picture_sync import PictureSync
from cloudseed.placement.policies import RULES
from cloudseed.placement.vocabulary import Vocabulary

MICROVERSIONS = Microversions("placement", (1, 0), (1, 39), (1, 0))


@dataclass
class Placement:
    """What resources and domain functions work on."""

    db: Database
    policy: Policy
    randomly: bool = False  # which candidates, when a limit cuts them
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    picture_sync: PictureSync = field(init=False)

    def __post_init__(self) -> None:
        self.picture_sync = PictureSync(self.db, self.vocabulary)

    async def begin(self, tx: Tx) -> Counters:
        """Open a write: number the transaction and know the names that are valid in it."""
        counters = await changes.begin(tx)
        await self.vocabulary.refresh(tx, counters)
        return counters

    async def names(self, tx: Tx) -> Vocabulary:
        """The names that are valid in a reading transaction."""
        await self.vocabulary.refresh(tx, await changes.read(tx))
        return self.vocabulary

    async def picture(self) -> Picture:
        """The columns, at least as new as the latest commit before this call.  Use it before the next await."""
        return await self.picture_sync.current()


def build(env: Environment) -> Service:
    """Placement as a service of this process."""
    db = env.database("placement", models.metadata)
    policy = env.policy("placement", RULES, message="Policy does not allow {rule} to be performed.")
    placement = Placement(db, policy, env.config.randomize_allocation_candidates)
    session = env.session("placement-api", "placement")
    provider = "/resource_providers/{uuid}"
    routes = {
        "/": root.RootResource(MICROVERSIONS),
        "/resource_providers": resource_providers.ResourceProvidersResource(placement),
        provider: resource_providers.ResourceProviderResource(placement),
        f"{provider}/inventories": inventories.InventoriesResource(placement),
        f"{provider}/inventories/{{resource_class}}": inventories.InventoryResource(placement),
        f"{provider}/usages": usages.ProviderUsagesResource(placement),
        f"{provider}/aggregates": aggregates.AggregatesResource(placement),
        f"{provider}/traits": traits.ProviderTraitsResource(placement),
        f"{provider}/allocations": allocations.ProviderAllocationsResource(placement),
        "/allocations": allocations.AllocationsResource(placement),
        "/allocations/{consumer_uuid}": allocations.ConsumerAllocationsResource(placement),
        "/allocation_candidates": allocation_candidates.AllocationCandidatesResource(placement),
        "/resource_classes": resource_classes.ResourceClassesResource(placement),
        "/resource_classes/{name}": resource_classes.ResourceClassResource(placement),
        "/traits": traits.TraitsResource(placement),
        "/traits/{name}": traits.TraitResource(placement),
        "/usages": usages.UsagesResource(placement),
        "/reshaper": reshaper.ReshaperResource(placement),
    }
    app = make_app(routes, fault=faults.placement, validator=env.validator(session),
                   identity_url=env.identity_url, microversions=MICROVERSIONS,
                   on_error=wire.error_for_version(MICROVERSIONS))

    async def start() -> None:
        async with db.write() as tx:
            await vocabulary.sync_standards(tx)
        await placement.picture()  # 10,000 providers take a second or two: not in somebody's request

    return Service("placement", mounts=[Mount("/placement", "placement-api", app)], start=start,
                   ledger=lambda: ledger.ledger(placement), handle=placement)
