// Package orderdata makes the daily order files of an invented web shop: the
// columns and the dirt of the UCI "Online Retail" extract (Chen, Sain and Guo,
// 2012), none of its rows, and two things that a real drop folder has and
// that extract lacks: invoices that are cut at midnight and continue in the
// next file, and lines that turn up days after their invoice.
//
// # The files
//
// One CSV file for each trading day (Saturdays are closed), named by the day,
// UTF-8 without a byte order mark, LF line ends, with the header
//
//	InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
//
// Fields are quoted only where they hold a comma or a quote, quotes are
// doubled, and white space is kept as it was typed: descriptions end in a
// blank, start with one, or hold two in a row.
//
// # The dirt
//
//   - customer numbers are written as floating point (17850.0) or are absent;
//   - prices are written as floating point (2.1, 0.0, and once 0.001);
//   - cancellations are invoices with a C before the number and negative quantities;
//   - stock corrections are ordinary invoices of one line with price 0.0, no
//     customer, mostly a negative quantity, and no description or a note ("damages", "?");
//   - bad-debt adjustments are invoices with an A before the number, two of
//     the three with a negative price;
//   - stock codes are not numbers: 85123A, 84029b, POST, M, BANK CHARGES, gift_0001_40;
//   - countries are the shop's own names: EIRE, RSA, USA, Channel Islands,
//     European Community, Unspecified;
//   - some lines are there twice, and the lines of some invoices differ by a minute.
//
// The same [Config] gives the same bytes, on every platform and with every
// version of Go: the only randomness is PCG-DXSM, whose algorithm is fixed.
package orderdata
