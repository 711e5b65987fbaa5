package orderdata

import "fmt"

// product is one article of the shop.
type product struct {
	code, description string
	price             price
}

// countries are the names as the shop writes them, by customers. United Kingdom stands apart
// (see customer): it has nine in ten.
var countries = []weighted[string]{
	{"Germany", 200}, {"France", 165}, {"EIRE", 155}, {"Spain", 55}, {"Netherlands", 55}, {"Belgium", 45},
	{"Switzerland", 40}, {"Australia", 35}, {"Portugal", 28}, {"Channel Islands", 20}, {"Norway", 20},
	{"Finland", 18}, {"Italy", 16}, {"Cyprus", 14}, {"Unspecified", 14}, {"Japan", 12}, {"Sweden", 12},
	{"Austria", 11}, {"Hong Kong", 10}, {"Poland", 10}, {"Israel", 10}, {"Denmark", 9}, {"Singapore", 8},
	{"Canada", 6}, {"Iceland", 5}, {"Greece", 5}, {"Malta", 5}, {"European Community", 4}, {"Lebanon", 3},
	{"Lithuania", 3}, {"Brazil", 2}, {"United Arab Emirates", 2}, {"USA", 2}, {"Bahrain", 2},
	{"Czech Republic", 2}, {"RSA", 2}, {"Saudi Arabia", 1},
}

const home = "United Kingdom"

var quantities = []weighted[int]{
	{1, 280}, {2, 150}, {3, 66}, {4, 68}, {5, 21}, {6, 77}, {7, 5}, {8, 25}, {9, 4}, {10, 43}, {12, 111}, {16, 8},
	{20, 9}, {24, 43}, {25, 10}, {36, 7}, {48, 11}, {72, 4}, {96, 3}, {100, 4}, {144, 2}, {288, 1}, {600, 1},
}

var prices = []weighted[price]{
	{1250, 290}, {1650, 227}, {850, 187}, {2950, 182}, {420, 149}, {4950, 105}, {3750, 104}, {2100, 103},
	{2460, 95}, {4130, 88}, {2550, 87}, {830, 85}, {1950, 84}, {1450, 73}, {7950, 60}, {5950, 51}, {650, 48},
	{550, 47}, {9950, 39}, {8500, 37}, {12750, 28}, {290, 23}, {390, 23}, {190, 9}, {14950, 12}, {16950, 8}, {39950, 2},
}

// special articles have words for codes; nil-priced ones are never sold, only noted.
var (
	postage  = product{"POST", "POSTAGE", 18000}
	manual   = product{"M", "Manual", 0}
	discount = product{"D", "Discount", 0}
	samples  = product{"S", "SAMPLES", 0}
	carriage = product{"C2", "CARRIAGE", 50000}
	webPost  = product{"DOT", "WEB SHOP POSTAGE", 0}
	charges  = product{"BANK CHARGES", "Bank Charges", 15000}
	badDebt  = product{"B", "Adjust bad debt", 0}
	pads     = product{"PADS", "PADS TO MATCH ALL CUSHIONS", 1}
	vouchers = []product{
		{"gift_0001_20", "Web Shop Gift Voucher £20.00", 16670},
		{"gift_0001_30", "Web Shop Gift Voucher £30.00", 25000},
		{"gift_0001_40", "Web Shop Gift Voucher £40.00", 34040},
	}
	// notes stand where a description should, on stock corrections.
	notes = []string{"?", "damages", "found", "thrown away", "check", "wrong code?", "damaged, thrown away.", "sold as set/6",
		"wet/rusty", "lost??", "adjustment", "can't find in stock "}
)

var (
	looks = []string{"WHITE", "RED SPOTTY", "CREAM", "VINTAGE", "SMALL", "SET OF 3", "SET/6", "PINK  STRIPE", "PACK OF 12", "BLUE",
		"RUSTIC", "ASSORTED COLOUR", "LARGE", "HANGING", "FOLKART", "ZINC", "ENGLISH ROSE", "PAINTED"}
	things = []string{"METAL LANTERN", "TEA LIGHT HOLDER", "CAKE TIN", "LUNCH BOX", "DOOR MAT", "BIRD ORNAMENT", "PARTY FLAGS",
		"COAT HOOK", "STORAGE JAR", "PICTURE FRAME", "CHALK BOARD", "PAPER NAPKINS", "HOT WATER BOTTLE", "TEACUP AND SAUCER",
		"WICKER HEART", "JIGSAW PUZZLE", "MINI CLOCK", "SEWING KIT"}
)

// catalogue makes the shop's articles: always the same codes and names, prices by the seed.
func catalogue(r rng) []product {
	variants := []string{"", "", "", "", "", "", "A", "B", "C", "a", "b", "BL"}
	var out []product
	for i, look := range looks {
		for j, thing := range things {
			name := look + " " + thing
			switch (i*7 + j) % 11 {
			case 0, 1:
				name += " " // a fifth of all descriptions end in a blank
			case 2:
				if j%3 == 0 {
					name = fmt.Sprintf("%s,%s", thing, look)
				}
			case 3:
				if j%3 == 1 {
					name = fmt.Sprintf("%s %d\" SIZE ", name, 5+j%4)
				}
			case 4:
				if j%6 == 2 {
					name = fmt.Sprintf("%s \"%c\", GIFT WRAPPED", thing, 'A'+i)
				}
			case 5:
				if j%9 == 4 {
					name = " " + name
				}
			}
			code := fmt.Sprintf("%d%s", 20600+len(out)*17, variants[(i+j)%len(variants)])
			out = append(out, product{code, name, pick(r, prices)})
		}
	}
	return out
}
