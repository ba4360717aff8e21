// An incident: its numbers, its episodes, and what happened.

import { byId, h, list, show, text } from './dom.js'
import { drawFacts, drawMoves } from './moves.js'
import { clock, count, number, sentence, span } from './say.js'
import { keepLooking, tellLive } from './wire.js'

const root = byId('report')
show(root, false)
const EVERY = 15000 // a report is read from all that was seen
const LEVELS = { on: ['alarm', 'stop', 'going on'], quiet: ['warn', 'warn', 'quiet, not closed'], closed: ['ok', 'ok', 'closed'] }

function draw(incident) {
  show(root, true)
  const [level, sign, words] = LEVELS[incident.state] ?? ['warn', 'warn', incident.state]
  const verdict = byId('verdict')
  verdict.dataset.level = level
  verdict.querySelector('use').setAttribute('href', `#room-icon-${sign}`)
  text(verdict.querySelector('h1'), sentence(incident.title))
  const app = incident.app ? `app ${incident.app} · ` : ''
  text(verdict.querySelector('p'), `${app}${words} · ${count(incident.episodes.length, 'episode')}, ${span(incident.seconds)} altogether`)
  const { felt } = incident
  drawFacts(byId('facts'), {
    began: clock(incident.began_at, true),
    closed: incident.closed_at && `${clock(incident.closed_at, true)} by ${incident.closed_by}: ${incident.close_reason}`,
    calls: number(incident.calls),
    'refused by Meta': number(incident.refused),
    'partners who felt it': number(felt.partners),
    'operations delayed': number(felt.delayed),
    'operations failed or expired': number(felt.failed + felt.expired),
    'done twice': number(felt.duplicated),
    kinds: incident.kinds.map((one) => one.kind).join(', '),
    'stayed broken longer': incident.residue.map((one) => `${one.scope} (${span(one.seconds_after)})`).join(', '),
    'not known': incident.gaps.join('; '),
  })
  list(byId('episodes'), incident.episodes, (one) => one.number, () => {
    const node = h('li', {})
    node.update = (one) => text(node, `${clock(one.began_at)} to ${one.ended_at ? clock(one.ended_at) : 'now'}: ${span(one.seconds)}, ${count(one.trips, 'trip')}, ${count(one.probes, 'probe')}, ${number(one.refused)} of ${number(one.calls)} calls refused`)
    return node
  })
  drawMoves(byId('line'), incident.line)
}

const tell = tellLive(byId('live-dot'), byId('live'), byId('room'), EVERY)
keepLooking(
  `/incidents/${byId('incident').dataset.id}/look`,
  draw,
  (state) => {
    tell(state)
    if (state.age == null && state.problem) {
      text(byId('live'), 'Trying again')
      text(byId('verdict').querySelector('h1'), 'Nothing to tell')
      text(byId('verdict').querySelector('p'), sentence(state.problem))
    }
  },
  EVERY,
)
