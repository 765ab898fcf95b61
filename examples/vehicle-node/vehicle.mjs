// A vehicle written from the contract alone, with MQTT.js and node:crypto. See README.md.
import { randomUUID } from 'node:crypto'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import mqtt from 'mqtt'
import { FIRMWARE, MODEL, PARAMETERS, digestOf, judge, keysOf, kidOf, nameOf, newState, settingsOf } from './contract.mjs'

const env = process.env
const { values: args } = parseArgs({
  options: {
    broker: { type: 'string', default: env.BROKER_URL ?? 'mqtt://127.0.0.1:1883' },
    vin: { type: 'string', default: env.VIN },
    secret: { type: 'string', default: env.VEHICLE_SECRET },
    keys: { type: 'string', default: env.KEYS_URL },
    prefix: { type: 'string', default: env.TOPIC_PREFIX ?? 'caas/v1/vehicles' },
    protocol: { type: 'string', default: env.MQTT_PROTOCOL ?? '5' },
    state: { type: 'string', default: env.STATE_FILE },
    every: { type: 'string', default: env.TELEMETRY_S ?? '30' },
    'keys-every': { type: 'string', default: env.KEYS_S ?? '600' }
  }
})
if (!args.vin || !args.secret || !args.keys) {
  console.error('needs --vin, --secret and --keys (or VIN, VEHICLE_SECRET, KEYS_URL)')
  process.exit(2)
}
const RESEND_MS = 60_000
const ASK_AGAIN_MS = 5_000
const RETAINED = new Set(['config', 'status', 'presence'])
const log = (event, more = {}) => console.log(JSON.stringify({ event, ...more }))
const now = () => new Date().toISOString()

// --- what outlives a restart -----------------------------------------------------------------
const stateFile = args.state ?? `${args.vin}.json`
let state = newState()
try {
  state = { ...state, ...JSON.parse(readFileSync(stateFile, 'utf8')) }
} catch (error) {
  if (error.code !== 'ENOENT') throw error
}
function save () {
  writeFileSync(`${stateFile}.new`, JSON.stringify(state))
  renameSync(`${stateFile}.new`, stateFile)
}
state.boot += 1
save()

// --- the line --------------------------------------------------------------------------------
const topic = (name) => `${args.prefix}/${args.vin}/${name}`
let session = randomUUID()
const presence = (what) => JSON.stringify({ state: what, at: now(), session, boot: state.boot })
const client = mqtt.connect(args.broker, {
  clientId: args.vin,
  username: args.vin,
  password: args.secret,
  protocolVersion: args.protocol === '5' ? 5 : 4,
  clean: false,
  properties: args.protocol === '5' ? { sessionExpiryInterval: 24 * 3600 } : undefined,
  reconnectPeriod: 1000,
  // A car that was enrolled a moment ago may be a moment ahead of the broker.
  reconnectOnConnackError: true,
  resubscribe: false,
  will: { topic: topic('presence'), payload: presence('OFFLINE'), qos: 1, retain: true }
})
const say = (name, message) =>
  client.publish(topic(name), typeof message === 'string' ? message : JSON.stringify(message),
    { qos: 1, retain: RETAINED.has(name) }, (error) => { if (error) log('not sent', { name, why: error.message }) })
const sayEvent = (type, code, detail) => say('event', { event_id: randomUUID(), at: now(), type, code, detail })

client.on('reconnect', () => {
  session = randomUUID() // a session of its own for each connection, and its will says so
  client.options.will.payload = presence('OFFLINE')
})
client.on('connect', () => {
  log('online', { session, boot: state.boot })
  client.subscribe([topic('cmd'), topic('stored')], { qos: 1 })
  say('presence', presence('ONLINE'))
  sayConfig()
  sayStatus()
  for (const batch of kept) send(batch)
})
client.on('error', (error) => log('error', { why: error.message }))
// The broker gets its acknowledgement only after this has called done.
client.handleMessage = (packet, done) => {
  const work = packet.topic === topic('cmd') ? obey(packet.payload) : receipt(packet.payload)
  Promise.resolve(work).catch((error) => log('failed', { why: error.message })).finally(() => done())
}

// --- commands --------------------------------------------------------------------------------
let keys = new Map()
let askedAt = -Infinity
async function fetchKeys () {
  askedAt = Date.now()
  try {
    const answer = await fetch(args.keys, { signal: AbortSignal.timeout(5000) })
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`)
    keys = keysOf(await answer.json())
  } catch (error) {
    log('no keys', { why: error.message }) // those we have go on counting
  }
}

async function keysFor (payload) {
  const kid = kidOf(payload)
  // A forger picks ids freely, so an unknown one makes us ask at most every 5 s.
  if (kid !== undefined && !keys.has(kid) && Date.now() - askedAt > ASK_AGAIN_MS) await fetchKeys()
  while (!keys.size) { // without any, wait for the gateway
    await fetchKeys()
    if (!keys.size) await new Promise((resolve) => setTimeout(resolve, 500))
  }
  return keys
}

async function obey (payload) {
  const trusted = await keysFor(payload)
  const { answer, command, config, status } =
    judge(payload, trusted, state, { vin: args.vin, operational }, Date.now())
  if (command?.kind === 'CONFIGURE') switched(command.values, command.service)
  save()
  log('answer', answer)
  say('answer', answer)
  if (command?.kind === 'DISPLAY') show(command.text)
  if (config) sayConfig()
  if (status) sayStatus()
}

function switched (items, service) {
  if (!service) return
  const on = items.some((item) => item.value !== PARAMETERS[nameOf(item)].allowed[0])
  if (on) state.active[service] ??= now()
  else delete state.active[service]
  sayEvent(on ? 'FEATURE_ON' : 'FEATURE_OFF', service)
}

function show (text) {
  log('display', { text })
  const code = /link/i.test(text) ? /\bcode\D{0,3}(\d{4,8})\b/i.exec(text)?.[1] : undefined
  if (code) setTimeout(() => sayEvent('LINK_CONFIRMED', code), 1000) // the driver presses yes
}

// --- what it says of itself ------------------------------------------------------------------
let operational = 'PARKED'
let odometer = 1000
let speed = 0
function sayConfig () {
  const values = settingsOf(state.values)
  say('config', { at: now(), seq: state.appliedSeq, firmware: FIRMWARE, model: MODEL, values, digest: digestOf(values) })
}
function sayStatus () {
  const active = Object.entries(state.active).map(([service, since]) => ({ service, since, state: 'ACTIVE' }))
  say('status', { at: now(), operational, odometer_km: odometer, soc_pct: 71, error_codes: [], firmware: FIRMWARE, signal_pct: 88, active_services: active })
}

// --- telemetry, kept until the platform has stored it ------------------------------------------
const kept = []
let n = 0
function send (batch) {
  batch.sentAt = Date.now()
  say('telemetry', { boot: state.boot, n: batch.n, samples: batch.samples })
}
function sample () {
  const batch = { n: n++, samples: [{ t: Date.now(), speed_kmh: speed, odometer_km: odometer, soc_pct: 71, state: operational }] }
  kept.push(batch)
  if (kept.length > 2880) kept.shift()
  if (client.connected) send(batch)
}
function receipt (payload) {
  const stored = JSON.parse(payload.toString('utf8'))
  if (stored.boot !== state.boot) return
  const missing = new Set(stored.missing ?? [])
  for (let i = kept.length - 1; i >= 0; i--) {
    if (kept[i].n <= stored.n && !missing.has(kept[i].n)) kept.splice(i, 1)
  }
  for (const batch of kept) if (missing.has(batch.n)) send(batch)
  log('stored', { ...stored, kept: kept.length })
}

// --- time and a hand at the wheel --------------------------------------------------------------
fetchKeys()
setInterval(fetchKeys, Number(args['keys-every']) * 1000) // what is announced is known in time, what is retired forgotten
setInterval(sample, Number(args.every) * 1000)
sample()
setInterval(() => {
  odometer = Math.round((odometer + speed / 3600) * 1000) / 1000
  const standing = operational === 'PARKED'
  const due = state.timers.filter((t) => Date.parse(t.at) <= Date.now() && (standing || !t.parked))
  if (due.length) {
    state.timers = state.timers.filter((timer) => !due.includes(timer))
    for (const timer of due) {
      for (const item of timer.values) state.values[nameOf(item)] = item.value
      switched(timer.values, timer.service)
    }
    save()
    sayConfig()
    sayStatus()
  }
  if (client.connected && kept.length && Date.now() - kept[0].sentAt > RESEND_MS) send(kept[0])
}, 1000)
function drive (moving) {
  operational = moving ? 'RUNNING' : 'PARKED'
  speed = moving ? 87.5 : 0
  sayStatus()
  sample()
}
createInterface({ input: process.stdin }).on('line', (line) => {
  if (line === 'drive' || line === 'park') drive(line === 'drive')
})
sayEvent('BOOT')
for (const name of ['SIGTERM', 'SIGINT']) {
  process.once(name, () => {
    // Without a connection there is nobody to wait for.
    if (!client.connected) process.exit(0)
    say('presence', presence('OFFLINE'))
    client.end(false, {}, () => process.exit(0))
  })
}
