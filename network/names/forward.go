package names

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// upstreamWait is how long one resolver has. Two of them have answered, or not, before glibc and musl ask again after 5 s.
const upstreamWait = 2 * time.Second

// errMismatch is a reply to something else than was asked.
var errMismatch = errors.New("reply is not to the question")

// mayForward says whether a query that the environment cannot answer may be asked outside.
func (s *Server) mayForward(q *query) bool {
	if s.options.Forward == nil || !strings.Contains(q.name, ".") {
		return false
	}
	if _, is := reverseAddress(q.name); is && isLocal(q.name) {
		return false
	}
	allowed, _ := s.zone.outside(q.from)
	return allowed && s.options.Forward(q.name)
}

// isLocal says whether a reverse name is of an address that means something else outside: loopback and link-local ones.
func isLocal(reverse string) bool {
	a, _ := reverseAddress(reverse)
	return a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified()
}

// forward asks outside and gives the reply.
func (s *Server) forward(q *query) []byte {
	_, own := s.zone.outside(q.from)
	var errs []error
	for _, upstream := range slices.Concat(own, s.options.Upstreams) {
		reply, err := s.exchange(q, upstream)
		if err == nil {
			err = s.learn(q.name, reply)
		}
		if err == nil {
			return q.pass(reply)
		}
		if errs = append(errs, err); s.ctx.Err() != nil {
			return nil
		}
	}
	s.log.Warn("cannot resolve a name outside", "name", q.name, "client", q.from.address, "error", errors.Join(errs...))
	return q.refuse(serverFailure)
}

// exchange asks one resolver, by TCP where its reply does not fit.
func (s *Server) exchange(q *query, upstream netip.AddrPort) ([]byte, error) {
	ctx, cancel := context.WithTimeout(s.ctx, upstreamWait)
	defer cancel()
	question, id, err := q.upstreamQuestion()
	if err != nil {
		return nil, err
	}
	for _, network := range []string{"udp", "tcp"} {
		reply, err := s.exchangeBy(ctx, network, upstream, question, func(reply []byte) error { return q.matches(reply, id) })
		if err != nil {
			return nil, fmt.Errorf("ask %s by %s: %w", upstream, network, err)
		}
		if truncated := reply[2]&0x02 != 0; !truncated || network == "tcp" {
			return reply, nil
		}
	}
	return nil, nil // not reached: tcp returns
}

// exchangeBy sends a question and waits for the reply that matches it.
func (s *Server) exchangeBy(
	ctx context.Context, network string, upstream netip.AddrPort, question []byte, matches func([]byte) error,
) ([]byte, error) {
	connection, err := s.options.Dial(ctx, network, upstream.String())
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	defer context.AfterFunc(ctx, func() { connection.Close() })()
	if network == "tcp" {
		if _, err := connection.Write(frame(question)); err != nil {
			return nil, err
		}
		reply, err := readFrame(connection)
		if err != nil {
			return nil, err
		}
		return reply, matches(reply)
	}
	if _, err := connection.Write(question); err != nil {
		return nil, err
	}
	buffer := make([]byte, 4096)
	for {
		n, err := connection.Read(buffer)
		if err != nil {
			return nil, err
		}
		// Somebody else's guess does not take the place of the reply.
		if matches(buffer[:n]) == nil {
			return bytes.Clone(buffer[:n]), nil
		}
	}
}

// upstreamQuestion makes the message for a resolver. It is written anew: what else a client put into its own stays inside.
func (q *query) upstreamQuestion() (message []byte, id uint16, err error) {
	var random [2]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, 0, err
	}
	id = binary.BigEndian.Uint16(random[:])
	b := dnsmessage.NewBuilder(make([]byte, 0, plainSize), dnsmessage.Header{ID: id, RecursionDesired: true})
	var h dnsmessage.ResourceHeader
	err = errors.Join(b.StartQuestions(), b.Question(q.question))
	if q.edns {
		// Only then: who did not ask with an OPT record gets none (RFC 6891, section 7).
		err = errors.Join(err, b.StartAdditionals(), h.SetEDNS0(largestSize, 0, q.dnssec), b.OPTResource(h, dnsmessage.OPTResource{}))
	}
	if err != nil {
		return nil, 0, err
	}
	message, err = b.Finish()
	return message, id, err
}

// matches says whether a message is the reply to the question, asked with an id.
func (q *query) matches(reply []byte, id uint16) error {
	var p dnsmessage.Parser
	h, err := p.Start(reply)
	if err != nil || !h.Response || h.ID != id {
		return errMismatch
	}
	question, err := p.Question()
	if err != nil || question.Type != q.question.Type || question.Class != q.question.Class ||
		!strings.EqualFold(question.Name.String(), q.question.Name.String()) {
		return errMismatch
	}
	return nil
}

// learn tells Options.Learn the addresses in a reply.
func (s *Server) learn(name string, reply []byte) error {
	if s.options.Learn == nil {
		return nil
	}
	resolved, err := addressesOf(reply)
	if err != nil || len(resolved) == 0 {
		return err
	}
	return s.options.Learn(name, resolved)
}

// addressesOf reads the addresses in a reply's answer, whatever aliases lead to them.
func addressesOf(reply []byte) ([]Resolved, error) {
	var p dnsmessage.Parser
	if _, err := p.Start(reply); err != nil {
		return nil, err
	}
	if err := p.SkipAllQuestions(); err != nil {
		return nil, err
	}
	var all []Resolved
	for {
		h, err := p.AnswerHeader()
		if err == dnsmessage.ErrSectionDone { //nolint:errorlint // the sentinel itself, never wrapped
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		var a netip.Addr
		switch h.Type {
		case dnsmessage.TypeA:
			r, err := p.AResource()
			if err != nil {
				return nil, err
			}
			a = netip.AddrFrom4(r.A)
		case dnsmessage.TypeAAAA:
			r, err := p.AAAAResource()
			if err != nil {
				return nil, err
			}
			a = netip.AddrFrom16(r.AAAA)
		default:
			if err := p.SkipAnswer(); err != nil {
				return nil, err
			}
			continue
		}
		all = append(all, Resolved{Address: a, TTL: time.Duration(h.TTL) * time.Second})
	}
}

// pass gives a resolver's reply the asker's id, or cuts it where the asker cannot take it.
func (q *query) pass(reply []byte) []byte {
	if len(reply) > q.limit {
		return q.cut()
	}
	binary.BigEndian.PutUint16(reply, q.header.ID)
	return reply
}
