// Runs the published test vectors over contract.mjs: node vectors.mjs FOLDER. Exit 1 where one fails.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { FIRMWARE, MODEL, digestOf, judge, keysOf, newState } from './contract.mjs'

const folder = process.argv[2]
if (!folder) {
  console.error('usage: node vectors.mjs FOLDER (the folder with commands.json and digests.json)')
  process.exit(2)
}
const read = (name) => JSON.parse(readFileSync(join(folder, name), 'utf8'))
const POWER = 'ENGINE_CONTROL.power_mode'

function runCommand ({ vehicle, trusted_keys: trusted }, { before, payload, expect }) {
  const state = newState()
  state.highestSeq = before.highest_seq
  state.values[POWER] = before.power_mode
  for (const answer of before.answers) state.answers[answer.command_id] = answer
  const car = { vin: vehicle.vin, operational: before.operational }
  const { answer } = judge(Buffer.from(payload), keysOf(trusted), state, car, Date.parse(before.now))
  const seen = {
    command_id: answer.command_id,
    seq: answer.seq,
    result: answer.result,
    reason: answer.reason,
    highest_seq: state.highestSeq,
    power_mode: state.values[POWER]
  }
  const wrong = Object.keys(expect).filter((key) => seen[key] !== expect[key])
  return wrong.map((key) => `${key} is ${seen[key]}, expected ${expect[key]}`)
}

function runDigest (_document, { values, digest }) {
  const seen = digestOf(values)
  return seen === digest ? [] : [`digest is ${seen}, expected ${digest}`]
}

let ran = 0
let failed = 0
for (const [name, run] of [['commands.json', runCommand], ['digests.json', runDigest]]) {
  const document = read(name)
  const { vehicle } = document
  if (vehicle && (vehicle.model !== MODEL || vehicle.firmware !== FIRMWARE)) {
    console.error(`${name} is for ${vehicle.model} ${vehicle.firmware}, this is ${MODEL} ${FIRMWARE}`)
    process.exit(2)
  }
  for (const one of document.cases) {
    const wrong = run(document, one)
    ran += 1
    failed += wrong.length > 0
    for (const line of wrong) console.log(`${name} ${one.name}: ${line}`)
  }
}
console.log(`${ran} cases, ${failed} failed`)
process.exit(failed ? 1 : 0)
