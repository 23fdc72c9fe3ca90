// Dashboards against the types that Grafana publishes: the dashboard, and the options of each kind of panel.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { test } from "node:test";
import Ajv from "ajv";
import { createGenerator } from "ts-json-schema-generator";

const TYPES = join(dirname(createRequire(import.meta.url).resolve("@grafana/schema")), "../esm/raw");
const FOLDER = new URL("../dashboards/", import.meta.url);

/** A strict validator of a published type: members that it does not have are refused. */
function validator(file, type) {
  const generator = createGenerator({
    path: join(TYPES, file),
    type,
    skipTypeCheck: true,
    additionalProperties: false,
  });
  const ajv = new Ajv.default({ allErrors: true, strict: false });
  const validate = ajv.compile(generator.createSchema(type));
  return (value) => {
    validate(value);
    return (validate.errors ?? []).map((e) => `${e.instancePath} ${e.message} ${JSON.stringify(e.params)}`);
  };
}

const panelcfg = (folder, name) => `composable/${folder}/panelcfg/x/${name}PanelCfg_types.gen.d.ts`;
const dashboard = validator("dashboard/x/dashboard_types.gen.d.ts", "Dashboard");
const series = panelcfg("timeseries", "TimeSeries");
const KINDS = {
  bargauge: { options: validator(panelcfg("bargauge", "BarGauge"), "Options") },
  gauge: { options: validator(panelcfg("gauge", "Gauge"), "Options") },
  stat: { options: validator(panelcfg("stat", "Stat"), "Options") },
  timeseries: { options: validator(series, "Options"), custom: validator(series, "FieldConfig") },
};

for (const name of readdirSync(FOLDER)) {
  const read = () => JSON.parse(readFileSync(new URL(name, FOLDER), "utf8"));

  test(`${name} is a dashboard of the published types`, () => {
    assert.deepEqual(dashboard(read()), []);
  });

  for (const panel of read().panels.filter((panel) => panel.type !== "row")) {
    test(`the panel ${panel.title} of ${name} has the options of its kind`, () => {
      const kind = KINDS[panel.type];
      assert.ok(kind, `${panel.type} is a kind that is looked at`);
      assert.deepEqual(kind.options(panel.options), []);
      const custom = panel.fieldConfig.defaults.custom;
      if (kind.custom) {
        assert.deepEqual(kind.custom(custom), []);
      } else {
        assert.equal(custom, undefined);
      }
    });
  }
}

test("what the types do not allow is found", () => {
  const overview = JSON.parse(readFileSync(new URL("overview.json", FOLDER), "utf8"));
  const wrong = [
    (d) => delete d.schemaVersion,
    (d) => (d.panels[1].gridPos.w = "wide"),
    (d) => (d.templating.list[0].type = "sometimes"),
    (d) => (d.panels[1].fieldConfig.defaults.threshold = []),
  ];
  for (const spoil of wrong) {
    const copy = structuredClone(overview);
    spoil(copy);
    assert.notDeepEqual(dashboard(copy), [], spoil.toString());
  }
  const stat = overview.panels.find((panel) => panel.type === "stat").options;
  assert.notDeepEqual(KINDS.stat.options({ ...stat, textMode: "loud" }), []);
});
