// What the server sends against its schema.
//   EXO_STATE_SCHEMA=cluster_state.schema.json EXO_NODE_MODULES=DIR
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(join(process.env.EXO_NODE_MODULES, 'x.js'));
const Ajv = require('ajv');

/** (type, data, where): asserts that `data` is one of the schema's `type`. */
export function checker() {
  const ajv = new Ajv({ strict: false });
  ajv.addSchema(JSON.parse(readFileSync(process.env.EXO_STATE_SCHEMA, 'utf8')));
  return (type, data, where) => {
    const validate = ajv.getSchema(`cluster_state#/$defs/${type}`);
    assert.ok(validate(data), `${where}: ${ajv.errorsText(validate.errors)}`);
  };
}
