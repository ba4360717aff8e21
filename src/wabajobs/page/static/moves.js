// A time line: moments, and what happened; and facts by name.

import { h, list, text } from './dom.js'
import { clock, sentence, span } from './say.js'

// Each move has `at` and `sentence`, and may have `after_seconds` and a `level`.
export function drawMoves(node, moves) {
  list(node, moves, (move) => `${move.at} ${move.sentence}`, (move) =>
    h(
      'li',
      { 'data-level': move.level },
      h('time', { datetime: move.at, title: move.at }, clock(move.at, true)),
      h('span', { class: 'room-after' }, move.after_seconds >= 0.5 ? `+${span(move.after_seconds)}` : ''),
      h('span', {}, sentence(move.sentence)),
    ),
  )
}

export function drawFacts(node, told) {
  const rows = Object.entries(told).filter(([, value]) => value)
  list(node, rows, ([name]) => name, ([name]) => {
    const value = h('dd', {})
    const row = h('div', {}, h('dt', {}, name.replace('_', ' ')), value)
    row.update = ([, now]) => text(value, now)
    return row
  })
}
