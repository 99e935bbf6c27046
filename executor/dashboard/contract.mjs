// Types of what the server sends, from its JSON schema: one fact in one place. Writes src/contract.ts.
import { readFileSync, writeFileSync } from 'node:fs';

const schemaFile = new URL('../serve/state/cluster_state.schema.json', import.meta.url);
const out = new URL('src/contract.ts', import.meta.url);

const scalars = { integer: 'number', number: 'number', string: 'string', boolean: 'boolean', null: 'null' };

function type(schema) {
  if (schema.$ref) return schema.$ref.split('/').at(-1);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' | ');
  if (schema.const) return JSON.stringify(schema.const);
  if (schema.oneOf) return schema.oneOf.map(type).join(' | ');
  if (Array.isArray(schema.type)) return schema.type.map((one) => type({ ...schema, type: one })).join(' | ');
  if (schema.type === 'array') return `(${type(schema.items)})[]`;
  if (schema.type === 'object') return object(schema);
  return scalars[schema.type];
}

function object(schema) {
  const fields = Object.entries(schema.properties).map(([name, field]) => {
    const optional = schema.required.includes(name) ? '' : '?';
    return `${field.description ? `/** ${field.description} */ ` : ''}${JSON.stringify(name)}${optional}: ${type(field)};`;
  });
  if (typeof schema.additionalProperties === 'object') fields.push(`[column: string]: ${type(schema.additionalProperties)};`);
  return `{ ${fields.join(' ')} }`;
}

const { $defs } = JSON.parse(readFileSync(schemaFile, 'utf8'));
const lines = Object.entries($defs).map(([name, schema]) => `${schema.description ? `/** ${schema.description} */\n` : ''}export type ${name} = ${type(schema)};`);
writeFileSync(out, `// Made by contract.mjs from cluster_state.schema.json.\n${lines.join('\n')}\n`);
