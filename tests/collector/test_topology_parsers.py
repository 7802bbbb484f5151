"""Text in, relations out: every format of where things stand, exactly; and nothing but BadInput for what is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ullage_collector.topology import agents, infiniband, labels, lldp, slurm, table
from ullage_collector.topology.hostlist import expand
from ullage_collector.topology.relation import Relation, Said, guid
from ullage_contract.errors import BadInput, ConfigError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "topology"

Short = tuple[str, str, str, str]


def text(name: str) -> str:
    return (FIXTURES / name).read_text(encoding="utf-8")


def short(said: Said) -> list[Short]:
    return [(r.family, r.subject, r.relation, r.target) for r in said.relations]


# -------------------------------------------------------------------------------------------- Slurm
def test_a_tree_gives_leaf_switches_and_the_switches_above_them() -> None:
    said = slurm.parse_conf(text("tree.conf"))
    assert short(said) == [
        ("switch", "leaf01", "parent_switch", "root"),
        ("switch", "leaf02", "parent_switch", "root"),
        ("node", "gpu-a01", "leaf_switch", "leaf01"),
        ("node", "gpu-a02", "leaf_switch", "leaf01"),
        ("node", "login1", "leaf_switch", "leaf01"),
        ("node", "gpu-b1n01", "leaf_switch", "leaf02"),
        ("node", "gpu-b1n02", "leaf_switch", "leaf02"),
        ("node", "gpu-b2n01", "leaf_switch", "leaf02"),
        ("node", "gpu-b2n02", "leaf_switch", "leaf02"),
    ]
    assert said.relations[0].attributes == {"link_speed": "100"}


def test_a_block_is_a_block_and_no_link_domain() -> None:
    assert short(slurm.parse_conf(text("block.conf"))) == [
        ("node", "gb001", "block", "nvl01"),
        ("node", "gb002", "block", "nvl01"),
        ("node", "gb003", "block", "nvl02"),
        ("node", "gb004", "block", "nvl02"),
    ]


def test_topology_yaml_holds_several_topologies_and_tells_which_it_does_not_read() -> None:
    said = slurm.parse_yaml(text("topology.yaml"))
    assert short(said) == [
        ("switch", "leaf01", "parent_switch", "root"),
        ("switch", "leaf02", "parent_switch", "root"),
        ("node", "gpu-a01", "leaf_switch", "leaf01"),
        ("node", "gpu-a02", "leaf_switch", "leaf01"),
        ("node", "gpu-b01", "leaf_switch", "leaf02"),
        ("node", "gpu-a01", "block", "nvl01"),
        ("node", "gpu-a02", "block", "nvl01"),
    ]
    assert said.relations[0].attributes == {"topology": "fabric"}
    assert said.notes == ("rings: type ring is not read; tree, block and flat are",)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("SwitchName=s1 Nodes=n[1-2\n", r"topology.conf:1: list of names 'n\[1-2': a bracket is not closed"),
        ("# one\nSwitchName=s1 Colour=red", "topology.conf:2: 'Colour' is no parameter"),
        ("Nodes=n1", "topology.conf:1: a line begins with"),
        ("SwitchName", "topology.conf:1: 'SwitchName' is no Key=Value"),
        ("SwitchName=s1 Nodes=n[5-2]", "runs backwards"),
        ("SwitchName=s1 Nodes=n[1-99999999999]", "is too long"),
        ("SwitchName=s1 Nodes=a[1-1000]b[1-1000]", "more than 100000 names"),
    ],
)
def test_a_wrong_topology_conf_says_the_line(document: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        slurm.parse_conf(document)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("tree:\n  switches: []\n", "is a list of topologies"),
        ("- tree:\n    switches: []\n", "topology 1 has no name"),
        ("- topology: a\n  tree:\n    - x\n", "topology 1: no list of switches"),
        ("- topology: a\n  tree:\n    switches:\n      - nodes: n1\n", "one of the switches has no name"),
        ("- topology: a\n\ttree: x\n", "topology.yaml: line 2: found character"),
        ("- topology: &a b\n", "line 1: anchors and aliases"),
        ("- topology: a\n   odd: 1\n", "topology.yaml: line 2: "),
        ("- topology: a\n  topology: b\n", "topology.yaml: line 2: 'topology' is there twice"),
    ],
)
def test_a_wrong_topology_yaml_says_where(document: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        slurm.parse_yaml(document)


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        ("tux[0-2,12]", ["tux0", "tux1", "tux2", "tux12"]),
        ("a,b[08-10],c", ["a", "b08", "b09", "b10", "c"]),
        ("r[1-2]n[01-02]x", ["r1n01x", "r1n02x", "r2n01x", "r2n02x"]),
        ("", []),
    ],
)
def test_lists_of_names_are_expanded_as_slurm_does(listed: str, names: list[str]) -> None:
    assert expand(listed) == names


# -------------------------------------------------------------------------------------------- Kubernetes
def test_labels_say_what_the_shipped_table_says_of_them() -> None:
    said = labels.parse(text("nodes.json"))
    assert short(said) == [
        ("node", "gpu-a01", "region", "cn-east"),
        ("node", "gpu-a01", "zone", "cn-east-1a"),
        ("node", "gpu-a01", "link_domain", "4f6c1d1e-8c1b-4d0e-9b69-0d2f5d0c7a11.7"),
        ("node", "gpu-a01", "leaf_switch", "leaf01"),
        ("node", "gpu-a01", "spine", "spine01"),
        ("node", "gpu-c01", "core", "nn-1"),
        ("node", "gpu-c01", "spine", "nn-2"),
        ("node", "gpu-c01", "leaf_switch", "nn-3"),
    ]
    assert said.relations[3].attributes == {"label": "network.topology.nvidia.com/leaf"}


def test_a_site_names_labels_of_its_own_and_leaves_shipped_ones_out() -> None:
    own = labels.labels_of({"site/hall": "room", "topology.k8s.aws/network-node-layer-1": ""})
    found = [row for row in short(labels.parse(text("nodes.json"), own)) if row[1] == "gpu-c01"]
    assert found == [
        ("node", "gpu-c01", "spine", "nn-2"),
        ("node", "gpu-c01", "leaf_switch", "nn-3"),
        ("node", "gpu-c01", "room", "H2"),
    ]
    with pytest.raises(ConfigError, match="site/hall = 'hall'"):
        labels.labels_of({"site/hall": "hall"})


def test_one_node_or_one_a_line_is_read_too() -> None:
    node = {"kind": "Node", "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z"}}}
    one = json.dumps(node)
    assert short(labels.parse(one)) == [("node", "n1", "zone", "z")]
    assert short(labels.parse(one + "\n" + one.replace("n1", "n2"))) == [
        ("node", "n1", "zone", "z"),
        ("node", "n2", "zone", "z"),
    ]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("NAME STATUS", "nodes.json:1: no JSON"),
        ("7", "neither a Node nor a list"),
        ('[{"metadata": {}}]', "node 1: a node has no metadata.name"),
        ('{"kind": "Pod", "metadata": {"name": "p"}}', "'Pod' is no Node"),
        ('{"metadata": {"name": "n", "labels": []}}', None),
        ('{"metadata": {"name": "n", "labels": [1]}}', "labels is no mapping"),
    ],
)
def test_what_is_no_node_is_refused_by_place(document: str, message: str | None) -> None:
    if message is None:
        assert labels.parse(document).relations == ()
    else:
        with pytest.raises(BadInput, match=message):
            labels.parse(document)


# -------------------------------------------------------------------------------------------- CSV
def test_a_table_gives_each_cell_to_the_most_exact_subject_that_can_have_it() -> None:
    said = table.parse(text("racks.csv"))
    assert short(said) == [
        ("node", "gpu-a01", "site", "sh1"),
        ("node", "gpu-a01", "room", "R2"),
        ("node", "gpu-a01", "rack", "A07"),
        ("node", "gpu-a01", "power_feed", "F1"),
        ("node", "gpu-a01", "power_feed", "F2"),
        ("node", "gpu-a02", "site", "sh1"),
        ("node", "gpu-a02", "room", "R2"),
        ("node", "gpu-a02", "rack", "A07"),
        ("node", "gpu-a02", "power_feed", "F1"),
        ("port", "gpu-a01/mlx5_0/1", "rail", "0"),
        ("switch", "leaf01", "site", "sh1"),
        ("switch", "leaf01", "room", "R2"),
        ("switch", "leaf01", "rack", "A08"),
    ]
    assert said.notes == ("column 'owner' says nothing of topology and is left out",)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "topology.csv:1: the head line needs"),
        ("colour,size\n", "topology.csv:1: the head line needs"),
        ("node,owner\nn1,x\n", "topology.csv:1: the head line needs"),
        ("node,rack,rack\n", "a column is there twice"),
        ("node,rack\nn1\n", "topology.csv:2: 1 cells, the head line has 2"),
        ("node,rack\n,A1\n", "topology.csv:2: none of node is filled in"),
        ("node,card,rack\n,c1,A1\n", "topology.csv:2: rack is filled in, and none of card can have one"),
        ('node,rack\nn1,"A1\n', "no CSV"),
    ],
)
def test_a_wrong_table_says_the_line(document: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        table.parse(document)


# -------------------------------------------------------------------------------------------- ibnetdiscover
def test_adapters_are_cabled_to_switch_ports_by_guid_and_switches_have_names() -> None:
    said = infiniband.parse(text("ibnetdiscover.txt"))
    assert short(said) == [
        ("switch", "b0cf0e0300aa0001", "name", "leaf01"),
        ("switch", "b0cf0e0300aa0002", "name", "spine01"),
        ("hca", "a088c20300010001/1", "leaf_switch", "b0cf0e0300aa0001"),
        ("hca", "a088c20300020001/1", "leaf_switch", "b0cf0e0300aa0001"),
    ]
    assert said.relations[3].attributes == {
        "switch_port": "2",
        "width": "4xNDR",
        "description": "gpu-a02 mlx5_0",
    }


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "no Switch and no Ca line"),
        ("hello\n", "ibnetdiscover:1: 'hello' is no line"),
        ('[1](a0) "S-b0"[1]\n', "ibnetdiscover:1: a link stands before any"),
    ],
)
def test_what_is_no_ibnetdiscover_is_refused_by_line(document: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        infiniband.parse(document)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("0xB0CF0E0300AA0001", "b0cf0e0300aa0001"),
        ("b0cf:0e03:00aa:0001", "b0cf0e0300aa0001"),
        ("leaf01", None),
        ("", None),
    ],
)
def test_a_guid_is_one_however_it_is_written(written: str, found: str | None) -> None:
    assert guid(written) == found


# -------------------------------------------------------------------------------------------- LLDP
SEEN = [("netdev", "gpu-a01/ens1f0np0", "leaf_switch", "tor-07a")]


def test_lldp_names_the_switch_of_each_interface_in_all_its_forms() -> None:
    said = lldp.parse_json(text("lldpctl.json"), "gpu-a01")
    assert short(said) == [
        *SEEN,
        ("netdev", "gpu-a01/ens2f0np0", "leaf_switch", "0c:42:a1:00:00:02"),
    ]
    assert said.relations[0].attributes == {"switch_port": "swp1", "port_description": "gpu-a01 rail 0"}
    assert lldp.parse_json(text("lldpctl_json0.json"), "gpu-a01").relations == said.relations[:1]
    assert short(lldp.parse_json(text("lldpctl_one.json"), "n")) == [
        ("netdev", "n/eth0", "leaf_switch", "mgmt-1")
    ]
    plain = lldp.parse_keyvalue(text("lldpctl.keyvalue"), "gpu-a01")
    assert plain.relations[0] == said.relations[0]
    assert short(plain)[1] == ("netdev", "gpu-a01/bond0.100", "leaf_switch", "0c:42:a1:00:00:02")


def test_a_node_without_neighbours_says_nothing() -> None:
    assert lldp.parse_json('{"lldp": {}}', "n").relations == ()
    assert lldp.parse_keyvalue("", "n").relations == ()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "lldpctl:1: no JSON"),
        ("[]", "no 'lldp' at the top"),
        ('{"lldp": [1]}', "holds no interfaces"),
        ('{"lldp": {"interface": ["eth0"]}}', "'interface' holds no mapping"),
    ],
)
def test_what_is_no_lldp_is_refused(document: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        lldp.parse_json(document, "n")
    with pytest.raises(BadInput, match=r"lldpctl:1: .* is no line of lldpctl -f keyvalue"):
        lldp.parse_keyvalue(document, "n")


# -------------------------------------------------------------------------------------------- agents
def test_agents_facts_say_a_nodes_inside_and_nothing_they_do_not_know() -> None:
    facts = {"pci_address": "0000:3b:00.0", "numa_node": 1, "nearest_ports": ["n1/mlx5_0/1", 7]}
    stated = [
        agents.Stated("card", "G1", "n1", json.dumps(facts)),
        agents.Stated("card", "G2", "n1", '{"numa_node": -1}'),
        agents.Stated("card", "G3", "n1", "[]"),
        agents.Stated("port", "n1/mlx5_0/1", "n1", '{"numa_node": 0, "pci_address": "x"}'),
    ]
    assert [(r.subject, r.relation, r.target) for r in agents.relations(stated)] == [
        ("G1", "node", "n1"),
        ("G1", "numa_node", "1"),
        ("G1", "pci_address", "0000:3b:00.0"),
        ("G1", "nearest_port", "n1/mlx5_0/1"),
        ("G2", "node", "n1"),
        ("G3", "node", "n1"),
        ("n1/mlx5_0/1", "node", "n1"),
        ("n1/mlx5_0/1", "numa_node", "0"),
    ]


# -------------------------------------------------------------------------------------------- anything at all
PARSERS: dict[str, Callable[[str], Said]] = {
    "conf": slurm.parse_conf,
    "yaml": slurm.parse_yaml,
    "labels": labels.parse,
    "table": table.parse,
    "ibnetdiscover": infiniband.parse,
    "lldp-json": lambda t: lldp.parse_json(t, "n1"),
    "lldp-keyvalue": lambda t: lldp.parse_keyvalue(t, "n1"),
}
SEEDS = [path.read_text(encoding="utf-8") for path in sorted(FIXTURES.iterdir()) if path.suffix != ".md"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                (
                    "lldp",
                    "interface",
                    "chassis",
                    "port",
                    "id",
                    "value",
                    "name",
                    "items",
                    "metadata",
                    "labels",
                    "kind",
                    "x",
                )
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A good file with a piece cut out, doubled or replaced."""
    seed = draw(st.sampled_from(SEEDS))
    start = draw(st.integers(0, len(seed)))
    end = draw(st.integers(start, min(len(seed), start + 200)))
    return seed[:start] + draw(st.text(max_size=20) | st.just(seed[start:end] * 2)) + seed[end:]


LINES = st.lists(st.text(alphabet="-: []{},\"'#\\\tab1=.", max_size=30), max_size=12).map("\n".join)


@pytest.mark.parametrize("name", PARSERS)
@given(document=st.text() | LINES | damaged() | JSON.map(json.dumps))
@example(document="[" * 100_000)
@example(document="- " * 5_000)
@example(document="a:\n" + "".join(" " * n + "a:\n" for n in range(1, 200)))
def test_any_text_gives_relations_or_bad_input(name: str, document: str) -> None:
    try:
        said = PARSERS[name](document)
    except BadInput as e:
        assert str(e)
        return
    assert all(isinstance(relation, Relation) for relation in said.relations)


@given(st.text(alphabet="ab[]0129,- ", max_size=40))
def test_any_list_of_names_is_names_or_bad_input(listed: str) -> None:
    try:
        names = expand(listed)
    except BadInput:
        return
    assert all(names)
