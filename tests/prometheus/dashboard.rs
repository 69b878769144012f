//! How a Grafana dashboard is written down: panels as rows of text, laid out and turned into the JSON that Grafana
//! imports.

use serde_json::{Value, json};

/// Grafana's grid is this wide.
pub(crate) const GRID: u64 = 24;

/// How a panel shows its queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One number, now.
    Stat,
    /// Lines over time.
    Lines,
    /// One row for each set of labels, one column for each query, now.
    Table,
    /// States over time.
    Timeline,
}

/// One panel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panel {
    pub title: &'static str,
    pub kind: Kind,
    /// A unit of Grafana: `percentunit`, `bytes`, `celsius`, `s`, `Bps`, `volt`, `short`, …
    pub unit: &'static str,
    /// Of [`GRID`].
    pub width: u64,
    pub height: u64,
    /// Query and legend; the legend of a table is the name of the column.
    pub queries: &'static [(&'static str, &'static str)],
    /// From here on yellow, and from here on red.
    pub limits: Option<(f64, f64)>,
}

/// A heading with the panels below it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub title: &'static str,
    pub panels: &'static [Panel],
}

/// One dashboard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dashboard {
    pub uid: &'static str,
    pub title: &'static str,
    pub description: &'static str,
    /// Whether it has the variable `instance`, the node.
    pub of_one_node: bool,
    pub rows: &'static [Row],
}

impl Dashboard {
    /// Every query with the panel it belongs to.
    pub(crate) fn queries(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let panels = self.rows.iter().flat_map(|row| row.panels);
        panels.flat_map(|panel| panel.queries.iter().map(|(query, _)| (panel.title, *query)))
    }

    /// The JSON that Grafana 9 and newer import. The data source is a variable, so that no name is asked for.
    pub(crate) fn json(&self) -> Value {
        let mut panels = Vec::new();
        let (mut id, mut y) = (0, 0);
        for row in self.rows {
            id += 1;
            panels.push(json!({
                "id": id, "type": "row", "title": row.title, "collapsed": false, "panels": [],
                "gridPos": {"x": 0, "y": y, "w": GRID, "h": 1},
            }));
            y += 1;
            let (mut x, mut tallest) = (0, 0);
            for panel in row.panels {
                if x + panel.width > GRID {
                    (x, y, tallest) = (0, y + tallest, 0);
                }
                id += 1;
                panels.push(panel.json(id, x, y));
                x += panel.width;
                tallest = tallest.max(panel.height);
            }
            y += tallest;
        }
        let mut variables = vec![json!({
            "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
            "hide": 0, "includeAll": false, "multi": false, "regex": "", "refresh": 1, "options": [],
        })];
        if self.of_one_node {
            variables.push(json!({
                "name": "instance", "label": "Node", "type": "query", "datasource": source(),
                "definition": "label_values(hostler_node_up, instance)",
                "query": {"query": "label_values(hostler_node_up, instance)", "refId": "instance"},
                "hide": 0, "includeAll": false, "multi": false, "regex": "", "refresh": 2, "sort": 7, "options": [],
            }));
        }
        json!({
            "uid": self.uid, "title": self.title, "description": self.description, "tags": ["hostler"],
            "schemaVersion": 38, "version": 1, "editable": true, "graphTooltip": 1, "timezone": "browser",
            "refresh": "30s", "time": {"from": "now-6h", "to": "now"}, "annotations": {"list": []},
            "templating": {"list": variables}, "links": [], "panels": panels,
        })
    }
}

impl Panel {
    fn json(&self, id: u64, x: u64, y: u64) -> Value {
        let instant = matches!(self.kind, Kind::Stat | Kind::Table);
        let targets: Vec<Value> = (b'A'..=b'Z')
            .zip(self.queries)
            .map(|(letter, (query, legend))| {
                json!({
                    "refId": char::from(letter).to_string(), "datasource": source(), "expr": query,
                    "legendFormat": legend, "instant": instant, "range": !instant,
                    "format": if self.kind == Kind::Table { "table" } else { "time_series" },
                })
            })
            .collect();
        let mut steps = vec![json!({"color": "green", "value": null})];
        if let Some((yellow, red)) = self.limits {
            steps.push(json!({"color": "yellow", "value": yellow}));
            steps.push(json!({"color": "red", "value": red}));
        }
        let mut panel = json!({
            "id": id, "title": self.title, "type": self.type_name(), "datasource": source(),
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height}, "targets": targets,
            "fieldConfig": {
                "defaults": {"unit": self.unit, "thresholds": {"mode": "absolute", "steps": steps}},
                "overrides": [],
            },
            "options": self.options(),
        });
        if self.kind == Kind::Table {
            panel["transformations"] = self.columns();
        }
        panel
    }

    fn type_name(&self) -> &'static str {
        match self.kind {
            Kind::Stat => "stat",
            Kind::Lines => "timeseries",
            Kind::Table => "table",
            Kind::Timeline => "state-timeline",
        }
    }

    fn options(&self) -> Value {
        match self.kind {
            Kind::Stat => json!({
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
                "colorMode": "value", "graphMode": "none", "textMode": "auto",
            }),
            Kind::Lines => json!({
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }),
            Kind::Table => json!({"showHeader": true}),
            Kind::Timeline => json!({"mergeValues": true, "showValue": "never", "rowHeight": 0.9}),
        }
    }

    /// One row for each set of labels, and the legends as names of the columns.
    fn columns(&self) -> Value {
        let names: serde_json::Map<String, Value> = (b'A'..=b'Z')
            .zip(self.queries)
            .map(|(letter, (_, legend))| (format!("Value #{}", char::from(letter)), json!(legend)))
            .chain((self.queries.len() == 1).then(|| ("Value".to_owned(), json!(self.queries[0].1))))
            .collect();
        json!([
            {"id": "merge", "options": {}},
            {"id": "organize", "options": {"excludeByName": {"Time": true}, "indexByName": {}, "renameByName": names}},
        ])
    }
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}
