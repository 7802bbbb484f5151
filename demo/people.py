"""Who works in the demonstration: departments, accounts, namespaces, users, prices. All invented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Department:
    """One department. weight: its part of what is asked for."""

    id: str
    name: str
    owner: str
    cost_center: str
    weight: float
    users: tuple[str, ...]
    training: tuple[str, ...]
    serving: tuple[str, ...]


DEPARTMENTS: Final = (
    Department("llm", "大模型部", "chen.yu", "CC-1001", 0.50,
               ("chen.yu", "wang.lei", "zhao.min", "sun.hao"), ("llm-pretrain", "llm-sft"), ("llm-serving", "llm-dev")),
    Department("vision", "视觉部", "li.na", "CC-1002", 0.28,
               ("li.na", "zhou.jie", "wu.fan"), ("vision-det", "vision-video"), ("vision-infer", "vision-dev")),
    Department("search", "搜索推荐部", "liu.yang", "CC-1003", 0.19,
               ("liu.yang", "he.jing", "xu.bo"), ("search-rank",), ("search-online", "search-dev")),
)  # fmt: skip

STRANGER: Final = Department("", "", "", "", 0.03, ("guest01",), ("guest",), ("sandbox",))
"""Nobody mapped these: they show as unmapped, which a report must not hide."""

RULES: Final = (
    # match, priority, department, business, scenario
    ("slurm:llm-pretrain", 20, "llm", "foundation-model", "training"),
    ("slurm:llm-*", 10, "llm", "assistant", "training"),
    ("slurm:vision-*", 10, "vision", "perception", "training"),
    ("slurm:search-*", 10, "search", "ranking", "training"),
    ("k8s:llm-serving", 20, "llm", "assistant", "inference"),
    ("k8s:vision-infer", 20, "vision", "perception", "inference"),
    ("k8s:search-online", 20, "search", "ranking", "inference"),
    ("k8s:*-dev", 5, None, None, "development"),
    ("k8s:llm-*", 5, "llm", None, None),
    ("k8s:vision-*", 5, "vision", None, None),
    ("k8s:search-*", 5, "search", None, None),
    ("slurm:*-eval", 30, None, None, "batch"),
)

CURRENCY: Final = "CNY"
PRICES: Final = {
    "NVIDIA H800": ("20.00", 280_000),
    "NVIDIA A100-SXM4-80GB": ("12.00", 120_000),
    "Ascend 910B3": ("9.00", 110_000),
    "Hygon K100_AI": ("6.00", 70_000),
    "Cambricon MLU590-M9": ("7.00", 85_000),
    "MetaX C500": ("5.00", 60_000),
}
"""Model -> (price of a card-hour, purchase price of a card), in CURRENCY. Assumed, and marked so."""
