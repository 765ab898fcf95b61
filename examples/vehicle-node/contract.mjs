// The rules of the contract without a line: what a command is answered with, and what it changes.
import { createHash, createPublicKey, verify } from 'node:crypto'

export const MODEL = 'AURORA'
export const FIRMWARE = '2.4.1'
// What this firmware knows: name → [off, ...other allowed values], and whether the car must stand.
export const PARAMETERS = {
  'ADAS.autonomous_highway_enabled': { allowed: [false, true], parked: true },
  'ENGINE_CONTROL.power_mode': { allowed: ['NORMAL', 'HIGH'], parked: true },
  'HVAC.climate_zones': { allowed: [1, 2, 4], parked: false },
  'INFOTAINMENT.premium_streaming': { allowed: [false, true], parked: false },
  'TRACTION_CONTROL.off_road_mode': { allowed: [false, true], parked: true },
  'TRACTION_CONTROL.snow_mode_available': { allowed: [0, 1], parked: true }
}
export const nameOf = ({ module, parameter }) => `${module}.${parameter}`

export function newState () {
  const off = Object.fromEntries(Object.entries(PARAMETERS).map(([k, p]) => [k, p.allowed[0]]))
  return { boot: 0, highestSeq: 0, appliedSeq: 0, values: off, answers: {}, timers: [], active: {} }
}

export function settingsOf (values) {
  return Object.keys(PARAMETERS).sort().map((name) => {
    const [module, parameter] = name.split('.')
    return { module, parameter, value: values[name] }
  })
}

// The lines are sorted, not the names ("M.p2=…" comes before "M.p=…"), as UTF-8 sorts them.
export function digestOf (settings) {
  const lines = settings.map((item) => Buffer.from(`${nameOf(item)}=${JSON.stringify(item.value)}`))
  const text = lines.sort(Buffer.compare).map(String).join('\n')
  return createHash('sha256').update(text).digest('hex')
}

// --- keys and signatures -----------------------------------------------------------------------
export function keysOf (jwkSet) {
  return new Map(jwkSet.keys.map((jwk) => [jwk.kid, createPublicKey({ key: jwk, format: 'jwk' })]))
}

export function kidOf (payload) {
  const header = parse(payload.toString('latin1').split('.')[0])
  return header?.alg === 'EdDSA' && header.typ === 'caas-command+json' && !('crit' in header) ? header.kid : undefined
}

function isSigned (parts, key) {
  const [head, body, signature] = parts
  // Buffer would overlook what is no base64url.
  if (!key || parts.length !== 3 || !/^[\w-]+$/.test(signature)) return false
  return verify(null, Buffer.from(`${head}.${body}`, 'latin1'), key, Buffer.from(signature, 'base64url'))
}

// --- a command ---------------------------------------------------------------------------------
// What to do about the payload of cmd. Changes `state`, which is to be saved before `answer` goes
// out. `car`: {vin, operational}; `now`: milliseconds. Of the result: `answer`; `command` where it
// was executed; `config`, `status`: to be published as well.
export function judge (payload, keys, state, car, now) {
  const parts = payload.toString('latin1').split('.')
  const command = parse(parts[1] ?? '')
  const reply = ({ result, reason = null, detail = null }) =>
    ({ command_id: idOf(command), seq: seqOf(command), result, reason, detail, at: new Date(now).toISOString() })
  if (!isSigned(parts, keys.get(kidOf(payload)))) return { answer: reply(refuse('BAD_SIGNATURE')) }
  if (!readable(command)) return { answer: reply(refuse('MALFORMED')) }
  if (command.vin !== car.vin) return { answer: reply(refuse('WRONG_VEHICLE')) }
  const id = idOf(command)
  const known = state.answers[id]
  if (known) return { answer: known, config: known.result === 'APPLIED' }
  if (command.seq <= state.highestSeq) return { answer: reply(refuse('REPLAYED')) }
  state.highestSeq = command.seq
  let outcome
  if (Date.parse(command.expires_at) <= now) outcome = refuse('EXPIRED')
  else if (command.kind === 'QUERY' || command.kind === 'TEST') outcome = { result: 'REPORT' }
  else if (command.kind === 'DISPLAY') outcome = show(command)
  else outcome = configure(command, state, car)
  const answer = state.answers[id] = reply(outcome)
  for (const old of Object.keys(state.answers).slice(0, -200)) delete state.answers[old]
  const query = answer.result === 'REPORT' && command.kind === 'QUERY'
  const applied = answer.result === 'APPLIED'
  if (applied) state.appliedSeq = command.seq
  return {
    answer,
    command: applied ? command : undefined,
    config: applied || query,
    status: query || (applied && command.kind === 'CONFIGURE')
  }
}

function refuse (reason, detail) {
  return { result: reason === 'UNSAFE_STATE' ? 'DEFERRED' : 'REJECTED', reason, detail }
}

function show (command) {
  return typeof command.text === 'string' ? { result: 'APPLIED' } : refuse('MALFORMED', 'DISPLAY without a text')
}

function configure (command, state, car) {
  const wanted = command.values ?? []
  const revert = command.revert_values ?? []
  if (!wanted.length) return refuse('MALFORMED', 'CONFIGURE without values')
  for (const items of [wanted, revert]) {
    const given = new Map()
    for (const item of items) {
      const name = nameOf(item)
      if (!Object.hasOwn(PARAMETERS, name)) return refuse('UNKNOWN_PARAMETER', name)
      if (!PARAMETERS[name].allowed.includes(item.value)) return refuse('INVALID_VALUE', name)
      if (given.has(name) && given.get(name) !== item.value) return refuse('INVALID_VALUE', `${name} is given two values`)
      given.set(name, item.value)
    }
  }
  const parked = command.safe_state === 'PARKED' || wanted.some((item) => PARAMETERS[nameOf(item)].parked)
  if (parked && car.operational === 'RUNNING') return refuse('UNSAFE_STATE', car.operational)
  for (const item of wanted) state.values[nameOf(item)] = item.value
  const names = new Set(wanted.map(nameOf)) // the newest command decides over its parameters
  state.timers = state.timers
    .map((timer) => ({ ...timer, values: timer.values.filter((item) => !names.has(nameOf(item))) }))
    .filter((timer) => timer.values.length)
  if (command.valid_until && revert.length) {
    state.timers.push({ at: command.valid_until, values: revert, service: command.service, parked })
  }
  return { result: 'APPLIED' }
}

// --- reading -----------------------------------------------------------------------------------
const KINDS = ['CONFIGURE', 'QUERY', 'TEST', 'DISPLAY']
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i
const MOMENT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i
const isMoment = (value) => typeof value === 'string' && MOMENT.test(value) && !Number.isNaN(Date.parse(value))
const isSetting = (item) => item !== null && typeof item === 'object' && typeof item.module === 'string' &&
  typeof item.parameter === 'string' && ['boolean', 'number', 'string'].includes(typeof item.value)
const areSettings = (value) => value === undefined || (Array.isArray(value) && value.every(isSetting))

function readable (c) {
  return c !== undefined && typeof c.vin === 'string' && idOf(c) !== null && seqOf(c) >= 1 &&
    KINDS.includes(c.kind) && isMoment(c.issued_at) && isMoment(c.expires_at) &&
    areSettings(c.values) && areSettings(c.revert_values) &&
    (c.valid_until == null || isMoment(c.valid_until)) && ['PARKED', 'ANY', undefined].includes(c.safe_state) &&
    ['INFO', 'WARNING', undefined].includes(c.level)
}

// What an answer may name of a command that cannot be trusted; anything else would spoil the answer.
const idOf = (c) => typeof c?.command_id === 'string' && UUID.test(c.command_id) ? c.command_id.toLowerCase() : null
const seqOf = (c) => Number.isSafeInteger(c?.seq) && c.seq >= 0 ? c.seq : null

function parse (part) {
  try {
    const bytes = Buffer.from(part, 'base64url')
    const value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
    return value !== null && typeof value === 'object' && !Array.isArray(value) ? value : undefined
  } catch { return undefined }
}
