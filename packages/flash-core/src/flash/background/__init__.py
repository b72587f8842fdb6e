"""Background callbacks: the managers that run jobs, and the requests by which a page follows one.

In comes a request that starts or polls a job; out goes a `PendingJob` or the result.
Called by `Flash` for callbacks with ``background=True``; users create the managers.
"""

from flash.background.exchange import BackgroundCall as BackgroundCall
from flash.background.exchange import adapt as adapt
from flash.background.exchange import cancel as cancel
from flash.background.exchange import respond as respond
from flash.background.job import JobManager as JobManager
from flash.background.job import TooManyJobs as TooManyJobs
from flash.background.memory import AsyncManager as AsyncManager
from flash.background.memory import JobStatistics as JobStatistics
from flash.background.redis import RedisManager as RedisManager
