"""The measured figures and the assumptions of the estimates.

`tests/costs/test_figures.py` compares the measured ones with `bench/results.json`, and with what
the handler does.
"""

from typing import Final

# --- A batch on Lambda, of records with items of 400 bytes. bench/results.json.
BATCH_CPU_US: Final = 200.0  # cpu.deployed.1
RECORD_CPU_US: Final = 27.0  # cpu.event.decode and cpu.apply.uniform.1000.json.1ms
BATCH_WAIT_US: Final = 2_500.0  # for a cache 1 ms away: about two of ping.1ms
RECORD_WAIT_US: Final = 5.4
ONE_VCPU_MB: Final = 1_769  # https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
EVENT_BYTES: Final = 6 * 1024 * 1024  # Lambda's limit of one event
RECORD_BYTES: Final = 417  # of a record in an event, beside its two images: event.bytes

# --- Polling. https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html
POLL_SECONDS: Final = 0.25  # Lambda polls a shard four times a second
FRESH_SHARDS: Final = 4  # of a new table with on-demand capacity

# --- The cache. bench/results.json: memory.*.json
ENTRY_OVERHEAD: Final = 92  # bytes of an entry beside key and value, with the server's tables
FENCE_OVERHEAD: Final = 140  # bytes of a fence beside the key, with the server's tables
KEY_BYTES: Final = 20  # assumed length of a key
FENCE_SECONDS: Final = 93_600  # a fence's time to live
# AWS bills a command by its vCPU time: 1 ECPU is that of a SET, and our script takes 2.72 times as
# long (ceiling.set / ceiling.evalsha). Data above that count 1 ECPU a kilobyte.
CHANGE_ECPUS: Final = 3.0
# Assumed in the same way: the server takes 0.65 us for each key that SCAN passes, 3.4 us for a SET.
SCANNED_KEY_ECPUS: Final = 0.2
ECPU_BYTES: Final = 1_000

# --- Logs and metrics of the replicator: the handler's output.
METRICS_LINE: Final = 372  # bytes of the metrics of one batch, for a table with a short name
METRICS_MORE: Final = 16  # bytes that each further batch adds to the line, up to so many values
METRICS_VALUES: Final = 20
METRICS_SECONDS: Final = 55.0  # a sandbox writes its metrics this often at the most
BATCH_LINE: Final = 432  # bytes of the line that `logBatches` adds to each batch
LAMBDA_LINES: Final = 300  # bytes of START, END and REPORT, which `logBatches` adds, too
REPLICATOR_METRICS: Final = 4  # sent while all goes well; the other four are zero
AUDITOR_METRICS: Final = 6
CANARY_METRICS: Final = 2  # beside those that the auditor sends, too
ALARMS: Final = 19  # with auditor and canary
SEQUENCES: Final = 97  # bytes that each line has more where there is an inspector

# --- The inspector.
INSPECTOR_METRICS: Final = 12  # while nothing is wrong or undecided
INSPECTOR_ALARMS: Final = 2
INSPECTOR_MB: Final = 512
INSPECTOR_AGES: Final = 5  # questions about one change
INSPECTOR_RECORD_US: Final = 10.0  # CPU time for each record of the stream, sampled or not
INSPECTOR_INVOCATION_US: Final = 12_000.0  # assumed: sending a message, or having it judged
JUDGE_US: Final = 8_000.0  # assumed: CPU time and waiting for the cache, for each message
JUDGE_LINE: Final = 300  # bytes of the metrics of one message: 399 at first, then 277
QUESTION_ECPUS: Final = 2.0  # an entry and its fence
# A message is sent, received and deleted.
QUESTION_REQUESTS: Final = 3
# Lambda keeps five long polls of 20 s open for a queue.
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
QUEUE_POLLS: Final = 0.25  # a second

# --- Auditor. Measured on the bench's machine on 2026-11-26: 300,000 entries and as many fences.
SCANNED_ENTRY_US: Final = 8.0  # CPU time of the auditor for each entry that SCAN returns
SCANNED_KEY_US: Final = 1.9  # waiting for each key that SCAN passes, 1,000 at a time
# Assumed: pages and look-ups of DynamoDB, and the comparison, for each item of an audited part.
AUDITED_ITEM_US: Final = 250.0
READ_UNIT_BYTES: Final = 4_096
OPERATOR_MB: Final = 1_769  # memory of the functions that read the table

# --- Watchdog and canary: assumed times.
WATCHDOG_MINUTES: Final = 5
WATCHDOG_SECONDS: Final = 0.3
CANARY_SECONDS: Final = 0.5
CANARY_MB: Final = 512
CANARY_LINES: Final = 900  # bytes
