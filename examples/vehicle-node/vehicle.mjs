// A vehicle written from BUS.md alone, with MQTT.js and node:crypto. See README.md.
import { createHash, createPublicKey, randomUUID, verify } from 'node:crypto'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import mqtt from 'mqtt'

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
    every: { type: 'string', default: env.TELEMETRY_S ?? '30' }
  }
})
if (!args.vin || !args.secret || !args.keys) {
  console.error('needs --vin, --secret and --keys (or VIN, VEHICLE_SECRET, KEYS_URL)')
  process.exit(2)
}
const MODEL = 'AURORA'
const FIRMWARE = '2.4.1'
// What this firmware knows: name → [off, ...other allowed values], and whether the car must stand.
const PARAMETERS = {
  'ADAS.autonomous_highway_enabled': { allowed: [false, true], parked: true },
  'ENGINE_CONTROL.power_mode': { allowed: ['NORMAL', 'HIGH'], parked: true },
  'HVAC.climate_zones': { allowed: [1, 2, 4], parked: false },
  'INFOTAINMENT.premium_streaming': { allowed: [false, true], parked: false },
  'TRACTION_CONTROL.off_road_mode': { allowed: [false, true], parked: true },
  'TRACTION_CONTROL.snow_mode_available': { allowed: [0, 1], parked: true }
}
const RESEND_MS = 60_000
const RETAINED = new Set(['config', 'status', 'presence'])
const log = (event, more = {}) => console.log(JSON.stringify({ event, ...more }))
const now = () => new Date().toISOString()
const nameOf = ({ module, parameter }) => `${module}.${parameter}`

// --- what outlives a restart -----------------------------------------------------------------
const stateFile = args.state ?? `${args.vin}.json`
const off = Object.fromEntries(Object.entries(PARAMETERS).map(([k, p]) => [k, p.allowed[0]]))
let state = { boot: 0, highestSeq: 0, appliedSeq: 0, values: off, answers: {}, timers: [], active: {} }
try {
  state = { ...state, ...JSON.parse(readFileSync(stateFile, 'utf8')) }
} catch (error) {
  if (error.code !== 'ENOENT') throw error
}
function save () {
  for (const id of Object.keys(state.answers).slice(0, -200)) delete state.answers[id]
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
async function keyOf (kid) {
  while (!keys.has(kid) && Date.now() - askedAt > 5000) {
    try {
      const answer = await fetch(args.keys, { signal: AbortSignal.timeout(5000) })
      if (!answer.ok) throw new Error(`HTTP ${answer.status}`)
      const set = await answer.json()
      keys = new Map(set.keys.map((jwk) => [jwk.kid, createPublicKey({ key: jwk, format: 'jwk' })]))
      askedAt = Date.now()
    } catch (error) {
      log('no keys', { why: error.message })
      if (keys.size) break // judge with those we have; without any, wait for the gateway
      await new Promise((resolve) => setTimeout(resolve, 500))
    }
  }
  return keys.get(kid)
}

async function obey (payload) {
  const [head, body, signature] = payload.toString('latin1').split('.')
  const header = parse(head)
  const command = parse(body)
  const refuse = (reason, detail) => ({ result: reason === 'UNSAFE_STATE' ? 'DEFERRED' : 'REJECTED', reason, detail })
  const key = header?.alg === 'EdDSA' && header.typ === 'caas-command+json' ? await keyOf(header.kid) : undefined
  const data = Buffer.from(`${head}.${body}`, 'latin1')
  if (!key || !verify(null, data, key, Buffer.from(signature ?? '', 'base64url'))) {
    return answer(command, refuse('BAD_SIGNATURE'))
  }
  if (!readable(command)) return answer(command, refuse('MALFORMED'))
  if (command.vin !== args.vin) return answer(command, refuse('WRONG_VEHICLE'))
  const known = state.answers[command.command_id]
  if (known) {
    say('answer', known)
    return known.result === 'APPLIED' ? sayConfig() : undefined
  }
  if (command.seq <= state.highestSeq) return answer(command, refuse('REPLAYED'))
  state.highestSeq = command.seq
  let outcome
  if (Date.parse(command.expires_at) <= Date.now()) outcome = refuse('EXPIRED')
  else if (command.kind === 'QUERY' || command.kind === 'TEST') outcome = { result: 'REPORT' }
  else if (command.kind === 'DISPLAY') outcome = show(command.text)
  else outcome = configure(command, refuse)
  answer(command, outcome, true)
  if (outcome.result === 'APPLIED' || command.kind === 'QUERY') sayConfig()
  if (outcome.changed || command.kind === 'QUERY') sayStatus()
}

const KINDS = ['CONFIGURE', 'QUERY', 'TEST', 'DISPLAY']
function readable (c) {
  return c && typeof c.vin === 'string' && typeof c.command_id === 'string' && Number.isInteger(c.seq) &&
    KINDS.includes(c.kind) && !Number.isNaN(Date.parse(c.expires_at)) && Array.isArray(c.values ?? []) &&
    (c.kind !== 'DISPLAY' || typeof c.text === 'string') && (c.kind !== 'CONFIGURE' || c.values?.length > 0)
}

function configure (command, refuse) {
  const wanted = command.values
  const revert = command.revert_values ?? []
  for (const item of [...wanted, ...revert]) {
    const known = PARAMETERS[nameOf(item)]
    if (!known) return refuse('UNKNOWN_PARAMETER', nameOf(item))
    if (!known.allowed.includes(item.value)) return refuse('INVALID_VALUE', nameOf(item))
  }
  const parked = command.safe_state === 'PARKED' || wanted.some((item) => PARAMETERS[nameOf(item)].parked)
  if (parked && operational !== 'PARKED') return refuse('UNSAFE_STATE', operational)
  set(wanted, command.service)
  state.appliedSeq = command.seq
  const names = new Set(wanted.map(nameOf)) // the newest command decides over its parameters
  state.timers = state.timers
    .map((timer) => ({ ...timer, values: timer.values.filter((item) => !names.has(nameOf(item))) }))
    .filter((timer) => timer.values.length)
  if (command.valid_until) {
    state.timers.push({ at: command.valid_until, values: revert, service: command.service, parked })
  }
  return { result: 'APPLIED', changed: true }
}

function set (items, service) {
  for (const item of items) state.values[nameOf(item)] = item.value
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
  return { result: 'APPLIED' }
}

function answer (command, { result, reason = null, detail = null }, remember = false) {
  const id = typeof command?.command_id === 'string' ? command.command_id : null
  const seq = Number.isInteger(command?.seq) ? command.seq : null
  const message = { command_id: id, seq, result, reason, detail, at: now() }
  if (remember) state.answers[id] = message
  save()
  log('answer', message)
  say('answer', message)
}

function parse (part) {
  try {
    const value = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'))
    return value !== null && typeof value === 'object' ? value : undefined
  } catch { return undefined }
}

// --- what it says of itself ------------------------------------------------------------------
let operational = 'PARKED'
let odometer = 1000
let speed = 0
function sayConfig () {
  const names = Object.keys(PARAMETERS).sort()
  const lines = names.map((name) => `${name}=${JSON.stringify(state.values[name])}`)
  const values = names.map((name) => {
    const [module, parameter] = name.split('.')
    return { module, parameter, value: state.values[name] }
  })
  const digest = createHash('sha256').update(lines.join('\n')).digest('hex')
  say('config', { at: now(), seq: state.appliedSeq, firmware: FIRMWARE, model: MODEL, values, digest })
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
setInterval(sample, Number(args.every) * 1000)
sample()
setInterval(() => {
  odometer = Math.round((odometer + speed / 3600) * 1000) / 1000
  const standing = operational === 'PARKED'
  const due = state.timers.filter((t) => Date.parse(t.at) <= Date.now() && (standing || !t.parked))
  if (due.length) {
    state.timers = state.timers.filter((timer) => !due.includes(timer))
    for (const timer of due) set(timer.values, timer.service)
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
