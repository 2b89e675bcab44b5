"""Flink's configuration files for one cluster on loopback, as text."""
from __future__ import annotations

from deploy.settings import Settings

# What Flink needs of Java 17, from the configuration that Flink ships.
JAVA_OPENS = (
    "--add-exports=java.base/sun.net.util=ALL-UNNAMED", "--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED",
    "--add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED", "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.net=ALL-UNNAMED", "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED", "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.lang.reflect=ALL-UNNAMED", "--add-opens=java.base/java.text=ALL-UNNAMED",
    "--add-opens=java.base/java.time=ALL-UNNAMED", "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent.atomic=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent.locks=ALL-UNNAMED")
_ADDRESS = "127.0.0.1"
# Flink reserves the managed part for sorting; direct buffers are Flink's own and the network's.
_NETWORK_MIB, _MANAGED_MIB, _DIRECT_MIB, _METASPACE_MIB, _OVERHEAD_MIB = 256, 192, 128, 256, 128


def task_heap_mib(settings: Settings) -> int:
    """Returns the heap of a TaskManager: what is left beside Flink's own parts, buffers and classes."""
    return settings.task_manager_mib - _NETWORK_MIB - _MANAGED_MIB - _DIRECT_MIB - _METASPACE_MIB - _OVERHEAD_MIB


def flink_conf(settings: Settings, rest_port: int, rpc_port: int, work: str) -> str:
    """Returns config.yaml.

    Args:
        rest_port, rpc_port: where the JobManager listens.
        work: a folder for Flink's temporary files.
    """
    values: dict[str, object] = {
        "jobmanager.rpc.address": _ADDRESS, "jobmanager.bind-host": _ADDRESS, "jobmanager.rpc.port": rpc_port,
        "rest.address": _ADDRESS, "rest.bind-address": _ADDRESS, "rest.port": rest_port,
        "taskmanager.host": _ADDRESS, "taskmanager.bind-host": _ADDRESS,
        "taskmanager.numberOfTaskSlots": settings.slots, "taskmanager.cpu.cores": float(settings.slots),
        "taskmanager.memory.task.heap.size": f"{task_heap_mib(settings) - 128}m",
        "taskmanager.memory.framework.heap.size": "128m",
        "taskmanager.memory.framework.off-heap.size": f"{_DIRECT_MIB}m", "taskmanager.memory.task.off-heap.size": "0m",
        "taskmanager.memory.jvm-metaspace.size": f"{_METASPACE_MIB}m",
        "taskmanager.memory.jvm-overhead.min": f"{_OVERHEAD_MIB}m",
        "taskmanager.memory.jvm-overhead.max": f"{_OVERHEAD_MIB}m",
        "taskmanager.memory.network.min": f"{_NETWORK_MIB}m", "taskmanager.memory.network.max": f"{_NETWORK_MIB}m",
        # A job of many small tables has many shuffles: small buffers, and enough of them.
        "taskmanager.memory.segment-size": "8kb",
        "taskmanager.memory.managed.size": f"{_MANAGED_MIB}m",
        # A killed TaskManager is noticed by two refused heartbeats, within seconds; one that only is late, on a machine
        # with other work, has its time.
        "heartbeat.interval": 2000, "heartbeat.rpc-failure-threshold": 2, "heartbeat.timeout": 60000,
        "slot.request.timeout": 120000,
        "restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": settings.restarts,
        "restart-strategy.fixed-delay.delay": f"{settings.restart_delay_s} s",
        "jobmanager.execution.failover-strategy": "region",
        # Both TaskManagers work, not the first alone.
        "cluster.evenly-spread-out-slots": True,
        "blob.server.port": 0, "io.tmp.dirs": work, "web.submit.enable": False,
    }
    return "".join(f"{name}: {_yaml(value)}\n" for name, value in values.items())


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def log_conf(path: str) -> str:
    """Returns log4j2 properties that write one file."""
    return ("rootLogger.level = INFO\nrootLogger.appenderRef.file.ref = File\n"
            "appender.file.name = File\nappender.file.type = File\n"
            f"appender.file.fileName = {path}\n"
            "appender.file.layout.type = PatternLayout\n"
            "appender.file.layout.pattern = %d{yyyy-MM-dd HH:mm:ss,SSS} %-5p %-60c %x - %m%n\n")


def task_manager_java(settings: Settings) -> list[str]:
    """Returns the options of a TaskManager's Java."""
    heap = task_heap_mib(settings)
    return [f"-Xmx{heap}m", f"-Xms{heap}m", f"-XX:MaxDirectMemorySize={_NETWORK_MIB + _DIRECT_MIB}m",
            f"-XX:MaxMetaspaceSize={_METASPACE_MIB}m", *JAVA_OPENS]
