package orderdata

import (
	"io"
	"slices"
	"strconv"
	"time"
)

// shop is the state that goes from day to day.
type shop struct {
	rng     rng
	cfg     Config
	days    []time.Time
	tally   *tally
	goods   []product
	invoice int
	carried []line         // the rest of yesterday's last invoice
	late    map[int][]line // by the day on which they turn up
	recent  [][]line       // sales that may yet be cancelled, newest last
	exports int            // sales to wholesalers so far
}

const (
	firstInvoice  = 536365
	firstCustomer = 12346
	customers     = 4300
	keepRecent    = 64
)

func newShop(c Config) *shop {
	r := newRNG(c.Seed)
	return &shop{rng: r, cfg: c, days: c.days(), tally: newTally(), goods: catalogue(r), invoice: firstInvoice, late: map[int][]line{}}
}

// writeDay writes the file of day number i.
func (s *shop) writeDay(i int, w io.Writer) error {
	out := &dayWriter{w: w, day: i, tally: s.tally}
	out.buf = append(append(out.buf, Header...), '\n')
	for k := range s.carried {
		out.line(&s.carried[k])
	}
	s.carried = nil
	late := s.late[i]
	delete(s.late, i)

	goal := max(1, s.cfg.LinesPerDay*s.rng.between(60, 140)/100)
	clock := s.days[i].Add(time.Duration(s.rng.between(7*60, 9*60)) * time.Minute)
	step := max(1, 11*60*20/goal) // minutes between invoices, so that the day ends in the evening
	debts := i == s.cfg.Days/2
	for out.lines < goal {
		if len(late) > 0 && s.rng.permille(300) {
			out.line(&late[0])
			late = late[1:]
		}
		var lines []line
		if debts && out.lines >= goal/2 {
			debts = false
			lines = s.adjustments(clock)
		} else {
			lines = s.invoiceAt(clock)
		}
		last := out.lines+len(lines) >= goal
		lines = s.holdBack(i, lines, last)
		for k := range lines {
			out.line(&lines[k])
		}
		if next := clock.Add(time.Duration(s.rng.n(2*step+1)) * time.Minute); next.Day() == clock.Day() {
			clock = next
		}
	}
	for k := range late {
		out.line(&late[k])
	}
	if debts {
		for _, l := range s.adjustments(clock) {
			out.line(&l)
		}
	}
	out.flush()
	return out.err
}

// invoiceAt makes the lines of the next invoice, of a kind drawn by the shares of the real shop.
func (s *shop) invoiceAt(at time.Time) []line {
	switch k := s.rng.n(1000); {
	case k < 25:
		return s.sale(at, s.export())
	case k < 690:
		return s.sale(at, s.customer())
	case k < 755:
		return s.webSale(at)
	case k < 840:
		return []line{s.correction(at)}
	case k < 855:
		return s.fees(at)
	default:
		return s.cancellation(at)
	}
}

// buyer is who an invoice is for.
type buyer struct {
	number  int
	country string
}

// customer draws a customer; the number alone decides the country, so it never moves.
func (s *shop) customer() buyer {
	n := s.rng.n(customers)
	of := newRNG(uint64(n)) //nolint:gosec // n >= 0
	if !of.permille(80) {
		return buyer{firstCustomer + n, home}
	}
	return buyer{firstCustomer + n, pick(of, countries)}
}

// export is the next of the wholesalers abroad, one in each country: a month of files has them all.
func (s *shop) export() buyer {
	i := s.exports % len(countries)
	s.exports++
	return buyer{firstCustomer + customers + i, countries[i].value}
}

func (s *shop) number() string {
	s.invoice += s.rng.between(1, 2)
	return strconv.Itoa(s.invoice)
}

func (s *shop) line(invoice string, at time.Time, b buyer, p product, quantity int) line {
	return line{invoice: invoice, stockCode: p.code, description: p.description, quantity: quantity, time: at, price: p.price,
		customer: b.number, country: b.country}
}

// sale is an ordinary invoice.
func (s *shop) sale(at time.Time, b buyer) []line {
	no := s.number()
	var lines []line
	for range 1 + s.rng.n(1+s.rng.n(64)) {
		lines = append(lines, s.line(no, at, b, s.goods[s.rng.n(len(s.goods))], pick(s.rng, quantities)))
	}
	switch k := s.rng.n(1000); {
	case k < 30 && b.country != home:
		lines = append(lines, s.line(no, at, b, postage, s.rng.between(1, 4)))
	case k < 40:
		lines = append(lines, s.line(no, at, b, carriage, 1))
	case k < 60:
		lines = append(lines, lines[0]) // the same line twice
	case k < 65:
		free := lines[len(lines)-1]
		free.price = 0 // a sample in the parcel
		lines = append(lines, free)
	case k < 70:
		lines = append(lines, s.line(no, at, b, pads, 1))
	case k < 75 && at.Hour() < 23:
		for i := len(lines) / 2; i < len(lines); i++ {
			lines[i].time = lines[i].time.Add(time.Minute) // the till took a minute
		}
	}
	if s.recent = append(s.recent, lines); len(s.recent) > keepRecent {
		s.recent = slices.Delete(s.recent, 0, 1)
	}
	return lines
}

// webSale is the web shop's collected invoice: long, no customer, dearer, with its postage.
func (s *shop) webSale(at time.Time) []line {
	b := buyer{0, home}
	if s.rng.permille(20) {
		b.country = pick(s.rng, []weighted[string]{{"EIRE", 33}, {"Hong Kong", 8}, {"Bahrain", 2}, {"Unspecified", 4}})
	}
	no := s.number()
	var lines []line
	for range 1 + s.rng.n(1+s.rng.n(320)) {
		p := s.goods[s.rng.n(len(s.goods))]
		p.price = p.price * 166 / 1000 * 10 // 1.66 times, in whole pence
		lines = append(lines, s.line(no, at, b, p, 1+s.rng.n(1+s.rng.n(6))))
	}
	if s.rng.permille(50) {
		lines = append(lines, s.line(no, at, b, vouchers[s.rng.n(len(vouchers))], 1))
	}
	post := webPost
	post.price = price(s.rng.between(500, 90000)) * 10
	return append(lines, s.line(no, at, b, post, 1))
}

// correction is a change of stock, booked as an invoice that nobody pays.
func (s *shop) correction(at time.Time) line {
	p := s.goods[s.rng.n(len(s.goods))]
	p.price = 0
	p.description = ""
	if s.rng.permille(180) {
		p.description = notes[s.rng.n(len(notes))]
	}
	quantity := s.rng.between(1, 150)
	if s.rng.permille(650) {
		quantity = -quantity
	}
	return s.line(s.number(), at, buyer{0, home}, p, quantity)
}

// fees are the shop's own bookings: bank charges and hand-written positions.
func (s *shop) fees(at time.Time) []line {
	no := s.number()
	if s.rng.permille(200) {
		return []line{s.line(no, at, buyer{0, home}, charges, 1)}
	}
	p := manual
	p.price = price(s.rng.between(25, 40000)) * 10
	return []line{s.line(no, at, s.customer(), p, 1)}
}

// cancellation takes back some lines of a recent sale, or gives a discount or a sample.
func (s *shop) cancellation(at time.Time) []line {
	no := "C" + s.number()
	if len(s.recent) == 0 || s.rng.permille(80) {
		p, b := discount, s.customer()
		if s.rng.permille(300) {
			p, b = samples, buyer{0, home}
		}
		p.price = price(s.rng.between(100, 9000)) * 10
		return []line{s.line(no, at, b, p, -1)}
	}
	from := s.recent[s.rng.n(len(s.recent))]
	var lines []line
	for range min(len(from), 1+s.rng.n(1+s.rng.n(6))) {
		l := from[s.rng.n(len(from))]
		if l.price == 0 {
			l = from[0] // a sample cannot be returned
		}
		l.invoice, l.time = no, at
		l.quantity = -s.rng.between(1, l.quantity)
		lines = append(lines, l)
	}
	return lines
}

// adjustments write off a debt: once booked right, twice the wrong way round.
func (s *shop) adjustments(at time.Time) []line {
	p := badDebt
	p.price = 11062060
	lines := []line{s.line("A"+s.number(), at, buyer{0, home}, p, 1)}
	p.price = -p.price
	for range 2 {
		lines = append(lines, s.line("A"+s.number(), at, buyer{0, home}, p, 1))
	}
	return lines
}

// holdBack takes away what this day's file does not get: the end of its last invoice, which the
// next file starts with, and now and then one line that turns up two to five files later. An
// invoice never goes whole, so that its first line is always in the first of its files.
func (s *shop) holdBack(day int, lines []line, last bool) []line {
	left := s.cfg.Days - 1 - day
	if len(lines) < 2 || lines[0].invoice != lines[len(lines)-1].invoice {
		return lines
	}
	if last && left >= 1 && s.rng.permille(750) {
		cut := s.rng.between(1, len(lines)-1)
		s.carried = slices.Clone(lines[cut:])
		return slices.Clone(lines[:cut])
	}
	if left >= 2 && s.rng.permille(25) {
		due := day + s.rng.between(2, min(5, left))
		at := s.rng.between(1, len(lines)-1)
		s.late[due] = append(s.late[due], lines[at])
		return slices.Delete(slices.Clone(lines), at, at+1)
	}
	return lines
}
