"""Logins: four processes log in and leave, one client after the other."""

from load import Crowd, compare
from report import CostTable

COLUMNS = [("logins per second", "rate", 1), ("processor time, µs", "processor", 1e6)]
# account: method. The relay's logins are the server's, which starts a process or a thread for each.
METHODS = {"PostgresField": {"app": "SCRAM-SHA-256", "md5": "md5"}, "MariaDbField": {"native": "mysql_native_password"},
           "MySql9Field": {"sha2": "caching_sha2_password"}}


def logins(bench, field):
    table = CostTable(f"{field.title}: logins",
                      "four processes, each of which logs in and leaves, over and over; behind the relay the server does it",
                      COLUMNS)
    for account, method in METHODS[type(field).__name__].items():
        kinds = [kind for kind in field.SOME if kind.__name__ != "RouterSharing"]
        with Crowd(bench, field.pick(*kinds), "simple", 1, account) as loads:
            table.add(method, compare(bench, loads, lambda load: load.logins(bench.scale, 4)))
    yield table
