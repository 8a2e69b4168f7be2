package names

import (
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// ttl of the environment's names, in seconds. A start takes less than one; who keeps an address longer has waited.
	ttl = 2
	// Sizes of a UDP reply: what everyone takes, and what fits every path without fragments (DNS flag day 2020).
	plainSize, largestSize = 512, 1232
	tcpSize                = 65535

	headerSize = 12
	optSize    = 11
	// A record's fixed part, with its name as a pointer to the question's.
	recordSize = 12
)

// Response codes, shorter.
const (
	success        = dnsmessage.RCodeSuccess
	formatError    = dnsmessage.RCodeFormatError
	serverFailure  = dnsmessage.RCodeServerFailure
	nameError      = dnsmessage.RCodeNameError
	notImplemented = dnsmessage.RCodeNotImplemented
	refused        = dnsmessage.RCodeRefused
	badVersion     = dnsmessage.RCode(16) // RFC 6891, section 9
)

// Types of whole zones: RFC 5936 and RFC 1995.
const typeIXFR, typeAXFR = dnsmessage.Type(251), dnsmessage.TypeAXFR

// query is a question as it was asked.
type query struct {
	from   source
	header dnsmessage.Header
	// question is as asked, with its name's case; name is in lower case without the dot at its end.
	question dnsmessage.Question
	name     string
	// limit is the longest reply in bytes.
	limit int
	// edns says that there was an OPT record, dnssec that it had the DO bit.
	edns, dnssec bool
}

// read reads a message and gives either the reply, nil for what deserves none, or the query, which is to be asked outside.
func (s *Server) read(packet []byte, from source, tcp bool) (*query, []byte) {
	q, code, ok := parse(packet, from, tcp)
	switch {
	case !ok:
		return nil, nil
	case code != success:
		return nil, q.refuse(code)
	case q.question.Class != dnsmessage.ClassINET && q.question.Class != dnsmessage.ClassANY,
		q.question.Type == typeAXFR, q.question.Type == typeIXFR:
		return nil, q.refuse(refused)
	}
	if address, is := reverseAddress(q.name); is {
		name, ours := s.zone.reverse(from, address)
		switch {
		case name != "":
			return nil, q.answerName(name)
		case ours:
			return nil, q.refuse(nameError)
		}
	}
	all := q.question.Type == dnsmessage.TypeALL
	found, addresses := s.zone.lookup(from, q.name,
		all || q.question.Type == dnsmessage.TypeA, all || q.question.Type == dnsmessage.TypeAAAA)
	switch {
	case found, q.name == "": // the root exists, and is nobody's name
		return nil, q.answer(addresses)
	case !s.mayForward(q):
		return nil, q.refuse(nameError)
	}
	return q, nil
}

// parse reads a query. Without ok there is nothing to reply to: a fragment, or a reply, since two servers that reply to
// replies never end. Otherwise q is good for a reply with the code.
func parse(packet []byte, from source, tcp bool) (q *query, code dnsmessage.RCode, ok bool) {
	q = &query{from: from, limit: plainSize}
	if tcp {
		q.limit = tcpSize
	}
	var p dnsmessage.Parser
	var err error
	if q.header, err = p.Start(packet); err != nil || q.header.Response {
		return nil, 0, false
	}
	if q.header.OpCode != 0 {
		return q, notImplemented, true
	}
	question, err := p.Question()
	if err != nil {
		return q, formatError, true
	}
	if _, err := p.Question(); err != dnsmessage.ErrSectionDone { //nolint:errorlint // the sentinel itself, never wrapped
		return q, formatError, true
	}
	q.question = question
	q.name = strings.ToLower(strings.TrimSuffix(question.Name.String(), "."))
	if p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return q, formatError, true
	}
	return q, q.readOptions(&p, tcp), true
}

// readOptions reads the OPT record among the additional ones.
func (q *query) readOptions(p *dnsmessage.Parser, tcp bool) dnsmessage.RCode {
	code := success
	for {
		h, err := p.AdditionalHeader()
		if err == dnsmessage.ErrSectionDone { //nolint:errorlint // the sentinel itself, never wrapped
			return code
		}
		if err != nil || p.SkipAdditional() != nil {
			return formatError
		}
		if h.Type != dnsmessage.TypeOPT {
			continue
		}
		if q.edns {
			return formatError // RFC 6891, section 6.1.1: at most one
		}
		q.edns, q.dnssec = true, h.DNSSECAllowed()
		if !tcp {
			q.limit = min(max(int(h.Class), plainSize), largestSize)
		}
		if version := h.TTL >> 16 & 0xff; version != 0 {
			code = badVersion
		}
	}
}

// answer replies with addresses, as many as fit; without any it says that the name exists.
func (q *query) answer(addresses []netip.Addr) []byte {
	room := q.limit - headerSize - q.questionSize()
	if q.edns {
		room -= optSize
	}
	fits := 0
	for _, a := range addresses {
		if room -= recordSize + a.BitLen()/8; room < 0 {
			break
		}
		fits++
	}
	return q.build(success, fits < len(addresses), func(b *dnsmessage.Builder) error {
		h := dnsmessage.ResourceHeader{Name: q.question.Name, Class: dnsmessage.ClassINET, TTL: ttl}
		for _, a := range addresses[:fits] {
			var err error
			if a.Is4() {
				err = b.AResource(h, dnsmessage.AResource{A: a.As4()})
			} else {
				err = b.AAAAResource(h, dnsmessage.AAAAResource{AAAA: a.As16()})
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// answerName replies with what an address is called, to who asks for that and not for another type.
func (q *query) answerName(name string) []byte {
	if q.question.Type != dnsmessage.TypePTR && q.question.Type != dnsmessage.TypeALL {
		return q.answer(nil)
	}
	return q.build(success, false, func(b *dnsmessage.Builder) error {
		pointed, err := dnsmessage.NewName(name + ".")
		if err != nil {
			return err
		}
		h := dnsmessage.ResourceHeader{Name: q.question.Name, Class: dnsmessage.ClassINET, TTL: ttl}
		return b.PTRResource(h, dnsmessage.PTRResource{PTR: pointed})
	})
}

// refuse replies with a code and no answer.
func (q *query) refuse(code dnsmessage.RCode) []byte { return q.build(code, false, nil) }

// cut replies that the answer is too long for this way of asking.
func (q *query) cut() []byte { return q.build(success, true, nil) }

// questionSize is the length of the question in a message.
func (q *query) questionSize() int { return int(q.question.Name.Length) + 1 + 4 }

// build makes a reply. Nil is one that cannot be written, which the asker takes for a lost packet.
func (q *query) build(code dnsmessage.RCode, truncated bool, answers func(*dnsmessage.Builder) error) []byte {
	b := dnsmessage.NewBuilder(make([]byte, 0, plainSize), dnsmessage.Header{
		ID: q.header.ID, Response: true, OpCode: q.header.OpCode, Authoritative: code == success || code == nameError,
		Truncated: truncated, RecursionDesired: q.header.RecursionDesired, RecursionAvailable: true, RCode: code & 0xf,
	})
	b.EnableCompression()
	if q.question.Name.Length > 0 {
		if b.StartQuestions() != nil || b.Question(q.question) != nil {
			return nil
		}
	}
	if answers != nil && (b.StartAnswers() != nil || answers(&b) != nil) {
		return nil
	}
	if q.edns {
		var h dnsmessage.ResourceHeader
		if b.StartAdditionals() != nil || h.SetEDNS0(largestSize, code, q.dnssec) != nil ||
			b.OPTResource(h, dnsmessage.OPTResource{}) != nil {
			return nil
		}
	}
	message, err := b.Finish()
	if err != nil {
		return nil
	}
	return message
}

// reverseAddress reads the address that a name of in-addr.arpa or ip6.arpa stands for.
func reverseAddress(name string) (netip.Addr, bool) {
	if digits, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		parts := strings.Split(digits, ".")
		if len(parts) != 4 {
			return netip.Addr{}, false
		}
		var b [4]byte
		for i, part := range parts {
			n, err := strconv.ParseUint(part, 10, 8)
			if err != nil {
				return netip.Addr{}, false
			}
			b[3-i] = byte(n)
		}
		return netip.AddrFrom4(b), true
	}
	digits, ok := strings.CutSuffix(name, ".ip6.arpa")
	parts := strings.Split(digits, ".")
	if !ok || len(parts) != 32 {
		return netip.Addr{}, false
	}
	var b [16]byte
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 16, 4)
		if err != nil {
			return netip.Addr{}, false
		}
		b[(31-i)/2] |= byte(n) << (4 * (uint(31-i+1) % 2))
	}
	return netip.AddrFrom16(b), true
}
