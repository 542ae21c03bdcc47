"""Tasks and push notification configurations of A2A servers on Limpet.

from limpet_adapters.a2a import LimpetPushNotificationConfigStore, LimpetTaskStore

handler = DefaultRequestHandler(executor, LimpetTaskStore(open_persistence("redis://...")), card)
"""

from ._push import LimpetPushNotificationConfigStore
from ._tasks import LimpetTaskStore

__all__ = ["LimpetPushNotificationConfigStore", "LimpetTaskStore"]
