// An incident: its episodes, and what happened.

import { byId, h, list, text } from './dom.js'
import { drawMoves } from './moves.js'
import { clock, count, sentence, span } from './say.js'
import { keepLooking, tellLive } from './wire.js'

const LEVELS = { on: ['alarm', 'stop', 'going on'], quiet: ['warn', 'warn', 'quiet, not closed'], closed: ['ok', 'ok', 'closed'] }

function draw(incident) {
  const [level, sign, words] = LEVELS[incident.state] ?? ['warn', 'warn', incident.state]
  const verdict = byId('verdict')
  verdict.dataset.level = level
  verdict.querySelector('use').setAttribute('href', `#room-icon-${sign}`)
  text(verdict.querySelector('h1'), sentence(incident.title))
  const app = incident.app ? `app ${incident.app} · ` : ''
  text(verdict.querySelector('p'), `${app}${words} · ${count(incident.episodes.length, 'episode')}, ${span(incident.lasted_seconds)} altogether`)
  list(byId('episodes'), incident.episodes, (one) => one.began_at, () => {
    const node = h('li', {})
    node.update = (one) => text(node, `${clock(one.began_at)} to ${one.ended_at ? clock(one.ended_at) : 'now'}: ${span(one.lasted_seconds)}`)
    return node
  })
  drawMoves(byId('line'), incident.line)
}

const tell = tellLive(byId('live-dot'), byId('live'), byId('room'))
keepLooking(`/incidents/${byId('incident').dataset.id}/look`, draw, (state) => {
  tell(state)
  if (state.age == null && state.problem) {
    text(byId('verdict').querySelector('h1'), 'Nothing to tell')
    text(byId('verdict').querySelector('p'), sentence(state.problem))
  }
})
