//! Inventories as people have them, and as nobody should.

use super::*;

const INI: &str = "\
# the lab
[all]
cp[1:3] ansible_user=ada
w1 ansible_host=10.0.0.21 ip=10.0.0.21 ansible_become_password='hunter2 x'   # a worker

[kube_control_plane]
cp[1:3]
[kube_node]
w1
[etcd]
cp[1:3]
[k8s_cluster:children]
kube_control_plane
kube_node
[k8s_cluster:vars]
kube_version = 1.36.3
kube_pods_subnet=10.233.64.0/18
kube_network_plugin=calico
vault_token=hunter2
";

const YAML: &str = "\
k3s_cluster:
  children:
    server:
      hosts:
        pi-1: {ansible_host: 192.168.1.11, architecture: aarch64}
    agent:
      hosts:
        pi-2:
          ansible_host: 192.168.1.12
          architecture: aarch64
          node_labels: {disk: ssd}
  vars:
    k3s_version: v1.34.3+k3s1
    token: hunter2
    api_endpoint: '{{ hostvars[groups[\"server\"][0]][\"ansible_host\"] }}'
    extra_server_args: --flannel-backend=none
";

fn source<'a>(name: &'a str, text: &'a str) -> Source<'a> {
    Source { name, text, is: Is::Inventory }
}

fn text(draft: &crate::import::FileDraft, key: &str) -> String {
    draft.top.iter().find(|entry| entry.key == key).unwrap().value.as_str().unwrap().to_owned()
}

fn has(draft: &crate::import::FileDraft, said: &str) -> bool {
    draft.unsaid.iter().any(|sentence| sentence.contains(said))
}

#[test]
fn an_inventory_of_kubespray_becomes_a_fleet() {
    let variables = Source {
        name: "group_vars/kube_node.yml",
        text: "node_taints:\n- gpu=yes:NoSchedule\nkubelet_max_pods: 50\n",
        is: Is::GroupVariables("kube_node"),
    };
    let inventory = read(&[source("hosts.ini", INI), variables]).unwrap();
    assert_eq!(inventory.members("k8s_cluster"), ["cp1", "cp2", "cp3", "w1"]);
    let draft = fleet_file(&inventory, "lab").unwrap();
    assert_eq!((text(&draft, "version").as_str(), text(&draft, "distribution").as_str()), ("v1.36.3", "kubeadm"));
    assert_eq!(draft.nodes.len(), 4);
    let worker = &draft.nodes[3];
    let value = |key: &str| worker.entries.iter().find(|entry| entry.key == key).map(|entry| entry.value.to_string());
    assert_eq!(value("address").as_deref(), Some("\"10.0.0.21\""));
    assert_eq!(value("taints").as_deref(), Some("[\"gpu=yes:NoSchedule\"]"));
    assert!(has(&draft, "variable kube_network_plugin (hosts.ini:18) has no word here"), "{:#?}", draft.unsaid);
    assert!(has(&draft, "variable kubelet_max_pods (group_vars/kube_node.yml:3)"), "{:#?}", draft.unsaid);
    assert!(!format!("{draft:?}").contains("hunter2"));
}

#[test]
fn an_inventory_of_k3s_ansible_becomes_a_fleet_without_its_token() {
    let draft = fleet_file(&read(&[source("inventory.yml", YAML)]).unwrap(), "home").unwrap();
    assert_eq!((text(&draft, "version").as_str(), text(&draft, "api").as_str()), ("v1.34.3+k3s1", "192.168.1.11:6443"));
    assert!(has(&draft, "api_endpoint (inventory.yml:15) is a template"), "{:#?}", draft.unsaid);
    assert!(has(&draft, "variable token (inventory.yml:14)") && !format!("{draft:?}").contains("hunter2"));
}

#[test]
fn what_cannot_be_read_is_told_with_its_place() {
    let deep = format!(
        "a:{}",
        "\n".to_owned()
            + &(0..60)
                .map(|i| { format!("{}children:\n{}g{i}:\n", " ".repeat(4 * i + 2), " ".repeat(4 * i + 4)) })
                .collect::<String>()
    );
    for (name, text, said) in [
        ("a.ini", "[kube_node\nw1\n", "a.ini:1: expected [GROUP] with a bracket"),
        ("a.ini", "[a]\nw1 'x\n", "a.ini:2: expected a quote"),
        ("a.ini", "[a]\nw[1:999999]\n", "a.ini:2: expected a range"),
        ("a.ini", "[a]\nw1 x\n", "a.ini:2: expected NAME=VALUE"),
        ("a.ini", "[a:b]\n", "a.ini:1: expected [GROUP:children]"),
        ("a.ini", "", "found none"),
        ("a.yml", "a:\n  hosts:\n    w1:\n  host: x\n", "a.yml:"),
        ("a.yml", "a: [", "a.yml:1"),
        ("a.yml", &deep, "a.yml:"),
    ] {
        let error = read(&[source(name, text)]).unwrap_err().to_string();
        assert!(error.contains(said), "expected {said}, found {error}");
    }
    let nobody = read(&[source("a.ini", "[web]\nw1\n")]).unwrap();
    assert!(fleet_file(&nobody, "x").unwrap_err().to_string().contains("found the groups"));
}

#[test]
fn aliases_that_grow_without_end_are_refused() {
    let mut bomb = "a: &a {vars: {x: &x [1,1,1,1,1,1,1,1,1,1]}}\nb: {vars: {".to_owned();
    let mut last = "x".to_owned();
    for i in 0..9 {
        bomb.push_str(&format!("y{i}: &y{i} [{}], ", vec![format!("*{last}"); 10].join(",")));
        last = format!("y{i}");
    }
    bomb.push_str("}}\n");
    assert!(read(&[source("a.yml", &bomb)]).is_err());
}
