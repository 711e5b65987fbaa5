package observe

// LinksHeader is the header in which a message that was made of several carries the traces of those that are recorded, as
// traceparents with spaces between, until its span begins.
const LinksHeader = "tracelinks"

// CorrelationHeader is the header that carries the identity of what a message belongs to, through everything that is made of it and
// from one system to the next. Who takes requests makes one where there is none.
const CorrelationHeader = "x-correlation-id"
