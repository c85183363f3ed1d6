"""
RabbitMQ keeps the contract of a store that one process reads.
"""

from __future__ import annotations

import pytest
from support.rabbitmq_proof import RabbitMQProof

from coatcheck.testing import AioBackendContract, BackendContract


class RPC(RabbitMQProof):
    @pytest.fixture
    def url(self, rabbitmq):
        self.server = rabbitmq
        return self.named()


class TestRPC(RPC, BackendContract):
    pass


class TestRPCAio(RPC, AioBackendContract):
    pass
