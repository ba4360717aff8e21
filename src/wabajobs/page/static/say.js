// How numbers, spans and moments are said.

export const number = (value) => (value == null ? '?' : value.toLocaleString('en-GB'))

export const percent = (part) => `${Math.round(100 * part)} %`

export function span(seconds) {
  if (seconds == null) return '–'
  const whole = Math.max(0, Math.round(seconds))
  if (whole < 100) return `${whole} s`
  const minutes = Math.floor(whole / 60)
  const hours = Math.floor(whole / 3600)
  if (minutes < 100) return `${minutes} min`
  if (hours < 48) return `${hours} h ${String(minutes % 60).padStart(2, '0')} min`
  return `${Math.floor(hours / 24)} d ${hours % 24} h`
}

// A moment in UTC, with its day unless that is today.
export function clock(moment, seconds = false) {
  if (!moment) return ''
  const iso = new Date(moment).toISOString()
  const day = iso.slice(0, 10) === new Date().toISOString().slice(0, 10) ? '' : `${iso.slice(0, 10)} `
  return `${day}${iso.slice(11, seconds ? 19 : 16)} UTC`
}

export const count = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`

// What begins with a name, such as template_sync or app:1, keeps its small letter.
export const sentence = (words) => {
  const whole = String(words ?? '').trim()
  if (!whole) return ''
  const first = /^[a-z]+[_:]\S/.test(whole) ? whole[0] : whole[0].toUpperCase()
  return first + whole.slice(1) + (/[.!?…]$/.test(whole) ? '' : '.')
}

const WORDS = { all: 'everything', queue: '', partner: 'partner ', waba: 'WABA ', app: 'app ', capability: 'capability ', number: 'number ' }

// `queue:template_sync` as people say it.
export function scope(written) {
  const [type, ...rest] = written.split(':')
  const name = rest.join(':')
  if (type === 'partner' && name.includes('/')) {
    const [partner, ...queue] = name.split('/')
    return `${queue.join('/')} of partner ${partner}`
  }
  return type in WORDS ? `${WORDS[type]}${name}` : written
}
