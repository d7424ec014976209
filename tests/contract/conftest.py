"""Let the suites explain a failed assertion as the test files do."""

import pytest

pytest.register_assert_rewrite(
    "tests.contract.image_repository",
    "tests.contract.object_store",
    "tests.contract.s3_objects",
    "tests.support.images",
)
