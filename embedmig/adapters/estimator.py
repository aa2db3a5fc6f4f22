"""scikit-learn's conventions for an estimator, without importing scikit-learn."""

import inspect
from typing import Any, Self

from embedmig.errors import AdapterNotFittedError, UsageError


class Estimator:
    """Parameters are the arguments of ``__init__``, which only stores them; what ``fit`` learns ends in ``_``.

    Works with scikit-learn's ``clone``, ``Pipeline`` and ``GridSearchCV``.
    """

    _of_a_part = False
    """Set while candidates are compared: fitted beside held-out pairs, it says nothing of their number."""

    @classmethod
    def _parameter_names(cls) -> list[str]:
        return sorted(name for name in inspect.signature(cls.__init__).parameters if name != "self")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name. ``deep`` is there for scikit-learn: no parameter is an estimator."""
        return {name: getattr(self, name) for name in self._parameter_names()}

    def set_params(self, **params: Any) -> Self:
        """Raises UsageError for a name that is no parameter."""
        known = self._parameter_names()
        for name, value in params.items():
            if name not in known:
                raise UsageError(f"{type(self).__name__} has no parameter {name}; it has {', '.join(known)}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        said = [f"{name}={value!r}" for name, value in self.get_params().items() if value is not defaults[name].default]
        return f"{type(self).__name__}({', '.join(said)})"

    def __sklearn_is_fitted__(self) -> bool:
        return any(name.endswith("_") and not name.startswith("_") for name in vars(self))

    def __sklearn_tags__(self) -> Any:
        # Only scikit-learn calls this, so it is there.
        from sklearn.utils import Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=True, multi_output=True),
            transformer_tags=TransformerTags(),
        )

    def _require_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise AdapterNotFittedError(type(self).__name__)
