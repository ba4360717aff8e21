// Small plots. Each says in words what it shows, for those who do not see it.

import { h, s } from './dom.js'

const WIDTH = 240
const PAST = 3600000 // what is drawn, in milliseconds

// The course of something over the last hour: points are [moment, value]; `to` is the upper end of the scale, `line` a bound to draw.
export function course({ height = 40, label }) {
  const area = s('path', { class: 'room-course-area' })
  const line = s('path', { class: 'room-course-line' })
  const bound = s('line', { class: 'room-course-bound', x1: 0, x2: WIDTH })
  const plot = s(
    'svg',
    { class: 'room-course', viewBox: `0 0 ${WIDTH} ${height}`, preserveAspectRatio: 'none', role: 'img' },
    area,
    bound,
    line,
  )
  plot.update = (points, { to, bound: at, words } = {}) => {
    plot.toggleAttribute('hidden', points.length < 2)
    if (points.length < 2) return
    const last = points.at(-1)[0]
    const first = last - PAST
    const top = to ?? Math.max(1, ...points.map(([, value]) => value))
    const x = (moment) => (WIDTH * (moment - first)) / PAST
    const y = (value) => height - 1 - ((height - 2) * Math.min(value, top)) / top
    const way = points.map(([moment, value]) => `${x(moment).toFixed(1)},${y(value).toFixed(1)}`).join(' L')
    line.setAttribute('d', `M${way}`)
    area.setAttribute('d', `M${x(points[0][0]).toFixed(1)},${height} L${way} L${WIDTH},${height} Z`)
    bound.toggleAttribute('hidden', at == null)
    if (at != null) for (const end of ['y1', 'y2']) bound.setAttribute(end, y(at))
    plot.setAttribute('aria-label', words ?? label)
  }
  return plot
}

// How full a budget is: ours, others', and how far each class may go.
export function gauge() {
  const ours = h('span', { class: 'room-gauge-ours' })
  const others = h('span', { class: 'room-gauge-others' })
  const marks = h('span', { class: 'room-gauge-marks', 'aria-hidden': 'true' })
  const meter = h('div', { class: 'room-gauge', role: 'meter', 'aria-valuemin': 0 }, ours, others, marks)
  meter.update = ({ used, others: theirs, limit, usable, label }) => {
    const whole = Math.max(1, limit)
    const share = (calls) => `${Math.min(100, (100 * calls) / whole)}%`
    ours.style.width = share(used)
    others.style.width = share(Math.min(theirs, Math.max(0, whole - used)))
    const level = used + theirs >= 0.9 * limit ? 'full' : used + theirs >= 0.75 * limit ? 'high' : 'fine'
    meter.dataset.level = level
    meter.setAttribute('aria-valuemax', limit)
    meter.setAttribute('aria-valuenow', Math.min(limit, used + theirs))
    meter.setAttribute('aria-valuetext', label)
    marks.replaceChildren(
      ...Object.entries(usable ?? {}).map(([name, calls]) => {
        const mark = h('span', { class: 'room-gauge-mark', title: `${name} calls stop at ${calls}` })
        mark.style.left = share(calls)
        return mark
      }),
    )
  }
  return meter
}

// A part of a whole, as a bar beside its number.
export function bar() {
  const filled = h('span', {})
  const node = h('span', { class: 'room-bar', 'aria-hidden': 'true' }, filled)
  node.update = (part) => {
    filled.style.width = `${Math.min(100, 100 * part)}%`
  }
  return node
}
