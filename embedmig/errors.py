"""Every error embedmig raises on purpose.

EmbedmigError
├── UsageError                    mend the call or the configuration            exit code 2
│   ├── SettingsError             embedmig.toml or an EMBEDMIG_* variable
│   ├── ControlSchemaError        the schema embedmig is not there, or older than this package: embedmig init
│   ├── NotFoundError             no such model, collection, slot, table, column
│   ├── ConflictError             the name is taken by something else
│   ├── UnsupportedError          this server, table or type cannot carry what was asked
│   ├── UnversionedVectorError    a bare vector was given where an Embedding is needed
│   ├── ModelMismatchError        the query's model is not the slot's
│   ├── DimensionError            the vector's length is not the model's
│   ├── AdapterInputError         pairs or vectors that no adapter can be fitted on or applied to
│   └── AdapterNotFittedError     the adapter was used before fit
├── RefusedError                  a precondition does not hold yet              exit code 1
│   └── AdapterUnusableError      the stored adapter was made for other models, or is damaged
├── DatabaseError                 the database failed or said no                exit code 3
│   ├── PrivilegeError            a GRANT is missing
│   ├── LockedError               someone else holds the lock, after retries
│   └── LeaseLostError            this worker's lease ran out: nothing was written
└── ProviderError                 a model failed                                exit code 3
    ├── FingerprintError          the model no longer gives the vectors it was registered with
    ├── InputRejectedError        it refuses these texts and may take others: none are to be sent again as they are
    ├── ProviderSetupError        it refuses whatever is sent: key, address, name or quota must be mended
    ├── ProviderUnavailableError  it did not answer, after retries: try again later
    └── InvalidVectorError        wrong dimension, NaN, infinity or all zeros: never stored
"""

from collections.abc import Sequence


class EmbedmigError(Exception):
    """Root of the tree. The message says what is wrong, with which object, and what to do next."""

    exit_code = 3


class UsageError(EmbedmigError):
    """The call or the configuration is wrong; nothing was changed."""

    exit_code = 2


class SettingsError(UsageError):
    """A setting in embedmig.toml or the environment is unknown or has a value that cannot be."""


class ControlSchemaError(UsageError):
    """The database has no control schema, or one of an older revision: ``embedmig init`` mends both."""


class NotFoundError(UsageError):
    """A named thing does not exist."""

    def __init__(self, kind: str, name: str, *, known: Sequence[str] = (), hint: str = "") -> None:
        self.kind, self.name, self.known = kind, name, tuple(known)
        there = f"; there are: {', '.join(known)}" if known else ""
        super().__init__(f"no {kind} {name}{there}" + (f": {hint}" if hint else ""))


class ConflictError(UsageError):
    """The name is taken by another definition."""


class UnsupportedError(UsageError):
    """This server, table or type cannot carry what was asked."""


class UnversionedVectorError(UsageError):
    """A vector without its model was given. Raised before any SQL is sent."""

    def __init__(self, given: str) -> None:
        self.given = given
        super().__init__(
            f"a bare {given} names no model: wrap it, Embedding(values, model='name@revision'),"
            " or give the text and let embedmig embed it"
        )


class ModelMismatchError(UsageError):
    """The query's model is not the slot's, and no adapter joins the two. ``asked_model``: what to embed with, which is
    another than ``slot_model`` where an adapter stands before the slot."""

    def __init__(
        self,
        *,
        query_model: str,
        slot_model: str,
        slot: str,
        epoch: int | None = None,
        adapter: str | None = None,
        asked_model: str | None = None,
    ) -> None:
        self.query_model, self.slot_model, self.slot, self.epoch = query_model, slot_model, slot, epoch
        self.adapter, self.asked_model = adapter, asked_model or slot_model
        at = "" if epoch is None else f" at epoch {epoch}"
        through = "" if adapter is None else f" and is asked through adapter {adapter} from {self.asked_model}"
        super().__init__(
            f"query vector is from {query_model}, slot {slot} holds {slot_model}{through}{at}: embed the query with"
            f" {self.asked_model}"
        )


class DimensionError(UsageError):
    """The vector's length is not the model's."""

    def __init__(self, *, given: int, expected: int, model: str) -> None:
        self.given, self.expected, self.model = given, expected, model
        super().__init__(f"the vector has {given} dimensions, {model} has {expected}: is it from another model?")


class AdapterInputError(UsageError):
    """Pairs or vectors that no adapter can be fitted on or applied to."""


class AdapterNotFittedError(UsageError):
    """The adapter was used before it was fitted."""

    def __init__(self, adapter: str) -> None:
        self.adapter = adapter
        super().__init__(f"{adapter} is not fitted yet: call fit(X, Y) with paired vectors of the two models first")


class RefusedError(EmbedmigError):
    """A precondition does not hold: the check said no, and nothing was changed."""

    exit_code = 1


class AdapterUnusableError(RefusedError):
    """The stored adapter was made for other models than these, or its bytes are damaged: it must not be applied."""


class DatabaseError(EmbedmigError):
    """The database failed or refused; the sqlstate is kept when there is one."""

    def __init__(self, message: str, *, sqlstate: str | None = None) -> None:
        self.sqlstate = sqlstate
        super().__init__(message)


class PrivilegeError(DatabaseError):
    """The role lacks a privilege."""


class LockedError(DatabaseError):
    """A lock could not be had within the time-out, after retries."""


class LeaseLostError(DatabaseError):
    """This worker's lease on a chunk ran out and another may hold it: the transaction wrote nothing."""


class ProviderError(EmbedmigError):
    """A model could not be loaded, or failed while embedding."""


class FingerprintError(ProviderError):
    """The model gives other vectors for the probe texts than when it was registered."""

    def __init__(self, *, model: str, cosine: float, tolerance: float) -> None:
        self.model, self.cosine, self.tolerance = model, cosine, tolerance
        super().__init__(
            f"{model} no longer gives the vectors it was registered with (lowest cosine over the probes {cosine:.6f},"
            f" tolerated {tolerance:.6f}): its weights, prompts or limit changed behind the name."
            " Restore them, or register the changed model under a new revision (embedmig model add)"
        )


class InputRejectedError(ProviderError):
    """The provider refuses the texts of one request, and may take others: one of them can be to blame."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


class ProviderSetupError(ProviderError):
    """The provider refuses whatever is sent, or another model answers: no text is to blame, and none will pass."""


class ProviderUnavailableError(ProviderError):
    """The provider did not answer, or was too busy, for as long as it was asked again."""


class InvalidVectorError(ProviderError):
    """A model gave a vector of the wrong dimension, with NaN or infinity, or all zeros."""
