// Print how Twilio's segment calculator counts some 2,300 texts: the vectors of
// tests/unit/core/test_segments.py. Run it by `sh tests/vectors/record.sh` (`make vectors`), which
// copies this file and package.json to a temporary folder (imports are looked for beside a file), and:
//
//     npm install --prefix "$folder" && node "$folder/record.mjs" > segments.json
//
// One vector is [text, encoding, sizes]: the units in each segment, septets or UTF-16 code units.
// A fourth item, [text, encoding, sizes], is the same with Smart Encoding on, where that differs.
// Texts hold only what Unicode 10 knows in matters of combining (see core/segments.py).

import calculator from "sms-segments-calculator";

const texts = {};

function add(group, ...more) {
  (texts[group] ??= []).push(...more);
}

// The same numbers on every run.
let state = 2026;
function below(limit) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * limit);
}
const pick = (items) => items[below(items.length)];
const between = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => from + index);
const character = (number) => String.fromCodePoint(number);

// Cut or repeat a text to `length` code points.
function stretch(text, length) {
  const characters = [...text];
  return Array.from({ length }, (_, index) => characters[index % characters.length]).join("");
}

const LATIN = "Your order is on its way & arrives today, 9-11 am. ";
const NATIONAL = "Ä Ö Ü ß à è é ñ ø Å Æ £ ¥ § Ω Δ Φ ";
const CYRILLIC = "Ваш заказ уже в пути, спасибо! ";
const HAN = "您的訂單已經寄出感謝您的購買";
const EXTENDED = "\f[\\]^{|}~€";

// Lengths around every border.
for (const length of [0, 1, 2, 80, ...[153, 160, 306, 459, 612, 765].flatMap((n) => between(n - 1, n + 1))]) {
  add("gsm-7 lengths", stretch(LATIN, length), stretch(NATIONAL, length));
}
add("gsm-7 lengths", stretch(LATIN, 1599), stretch(LATIN, 1600));
for (const length of [...[67, 70, 134, 201, 268, 335].flatMap((n) => between(n - 1, n + 1)), 400]) {
  add("ucs-2 lengths", stretch(HAN, length), stretch(CYRILLIC, length));
  add("ucs-2 lengths", stretch(LATIN, length - 1) + "ç", "≠" + stretch(LATIN, length - 1));
}
for (const number of [...between(0, 0x17f), ...between(0x391, 0x3a9), 0x20ac, 0x20ab]) {
  add("single characters", character(number));
}

// Two-septet characters and surrogate pairs at the borders.
for (const length of [...between(150, 161), ...between(303, 308)]) {
  add("escapes at borders", stretch(LATIN, length) + "€", stretch(LATIN, length) + "{x}" + stretch(LATIN, 20));
  add("escapes at borders", stretch(LATIN, length - 1) + stretch(EXTENDED, 4) + stretch(NATIONAL, 150));
}
for (const length of [75, 76, 77, 79, 80, 81, 152, 153, 154, 229, 230]) {
  add("escapes at borders", stretch(EXTENDED, length), "a" + stretch(EXTENDED, length));
}
for (const length of [33, 34, 35, ...between(65, 71)]) {
  add("pairs at borders", stretch(HAN, length) + "𠮷", stretch(HAN, length) + "𠮷野家" + stretch(LATIN, 70));
  add("pairs at borders", stretch("𠮷", length), "a" + stretch("𠮷𩸽", length), stretch("𝒜😀", length));
}

// Emoji and what is written of several code points, at every place near a border.
const SEQUENCES = [
  "😀", "❤\ufe0f", "☝🏽", "☝\ufe0f🏽", "👍🏽", "👋🏿", "😀🏽", "1\ufe0f\u20e3", "#\ufe0f\u20e3", "🫠", "\u200d👩",
  "🇩🇪", "🇩🇪🇫🇷🇬", "🇺🇸🇺", "🇩🇪\ufe0f\ufe0f", "👍\ufe0f\ufe0f🏽", "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
  ...["👨👩👧👦", "👩❤👨", "👩❤💋👨", "👩⚕", "🏳🌈", "🏴☠", "👁🗨", "❤🔥", "🧑🤝🧑", "🐻❄"].flatMap((members) =>
    [members, members.replace(/[❤⚕🏳☠👁🗨❄]/gu, "$&\ufe0f")].map((text) => [...text].join("\u200d").replaceAll("\u200d\ufe0f", "\ufe0f")),
  ),
  "👩🏽\u200d🚀", "👨🏿\u200d🦰", "🤦🏽\u200d♂\ufe0f", "🏃🏻\u200d♀\ufe0f", "👩🏽\u200d❤\ufe0f\u200d💋\u200d👨🏽",
  "👩🏽\u200d👩🏽", "👩🏽\u200d👩\ufe0f🏽", "❤\ufe0f\u200d👩\ufe0f🏽",
  "e\u0301", "o\u0302\u0323", "Z\u0351\u036b\u0343\u036a\u0302", "\u0301👩",
  "각", "\u1100\u1161\u11a8", "\u1112\u119e\u11ab", "가\u11a8", "\u1100가",
  "नि", "क्षि", "ड\u093cी", "নী", "தமி", "กำ", "ที่", "ກຳ", "ខ្មែរ", "မြန်မာ", "ש\u05c1\u05b8", "ب\u0651\u0650", "\u0600\u0661", "\u0d4eക",
  "ｶﾞ", "葛\u{e0100}", "\r\n", "a\u200db", "a\u200cb",
];
for (const sequence of SEQUENCES) {
  add("sequences", sequence, sequence.repeat(9), sequence.repeat(20));
  for (const length of between(67 - sequence.length, 68)) {
    add("sequences", stretch(LATIN, length) + sequence + "≠ да");
  }
}

// What takes a skin tone, and what a joiner ties: parted at the border, or moved together.
for (const number of between(0x2600, 0x1faff)) {
  const base = character(number);
  if (/\p{Emoji_Modifier_Base}/u.test(base)) add("pairs of emoji", stretch(LATIN, 67 - base.length) + base + "🏽!!");
}
for (const base of "☀☎♀♂☠⚕⚖✈❄❤🌈🌊🌾🍳🎄🎓🎤🎨🎮🏫🏭🐶👀👦👧👨👩💋💰💻💼🔥🔧🔬🗨🚀🚒🤝🦰🦱🦽") {
  add("pairs of emoji", stretch(LATIN, 64) + "👩\u200d" + base + "!!!");
}

// Graphemes about as long as a segment, and longer.
const marks = (length) => "e" + "\u0301".repeat(length - 1);
for (const length of [10, 64, 66, 67, 68, 69, 70, 71, 80, 140]) {
  add("long graphemes", marks(length), marks(length) + "b", "a" + marks(length), marks(9) + marks(length));
  add("long graphemes", stretch(HAN, 60) + marks(9) + marks(length) + "b", stretch(HAN, 68) + marks(length));
  add("long graphemes", marks(30) + marks(length) + "b" + marks(length));
}

// Sentences as people write them.
const SENTENCES = [
  "Vielen Dank für Ihre Bestellung! Sie können sie jederzeit verfolgen: https://example.com/t/8Kq2",
  "Votre commande n° 5521 est prête ; à bientôt à la boutique, ça va vous plaire…",
  "¡Hola José! Tu pedido llegará mañana entre las 9 y las 11. Responde SÍ para confirmar.",
  "Zażółć gęślą jaźń – Twoja paczka czeka w punkcie odbioru.",
  "Kính gửi quý khách, đơn hàng của bạn đã được giao thành công. Cảm ơn bạn!",
  "Kính gửi quý khách, đơn hàng của bạn đã được giao thành công. Cảm ơn bạn!".normalize("NFD"),
  "Η παραγγελία σας είναι έτοιμη. ΕΥΧΑΡΙΣΤΟΥΜΕ ΠΟΛΥ!",
  "Ваш заказ № 5521 готов к выдаче. Ждём вас по адресу: ул. Ленина, 5.",
  "शुभ दिवाली! आपका ऑर्डर भेज दिया गया है। धन्यवाद और फिर मिलेंगे।",
  "আপনার অর্ডারটি পাঠানো হয়েছে। আমাদের সাথে থাকার জন্য ধন্যবাদ।",
  "உங்கள் ஆர்டர் அனுப்பப்பட்டது. எங்களுடன் இருப்பதற்கு நன்றி.",
  "คำสั่งซื้อของคุณถูกจัดส่งแล้ว ขอบคุณที่ใช้บริการของเรา น้ำใจงาม",
  "သင့်အော်ဒါကို ပို့ပြီးပါပြီ။ ကျေးဇူးတင်ပါတယ်။",
  "주문하신 상품이 발송되었습니다. 이용해 주셔서 감사합니다.",
  "주문하신 상품이 발송되었습니다. 이용해 주셔서 감사합니다.".normalize("NFD"),
  "ご注文ありがとうございます。商品を発送いたしました。ﾎﾟｲﾝﾄも付きます!",
  "تم شحن طلبك. شكرًا لتسوقك معنا، ونتمنى لك يومًا سعيدًا.",
  "הזמנתך נשלחה. תודה שקנית אצלנו! שָׁלוֹם",
  "Last chance 🎉🎉 50% off everything ❤️ today only 👉🏽 https://example.com/s 🛍️",
  "Happy Pride 🏳️‍🌈 from all of us 👩‍👩‍👧‍👦 in 🇬🇧🇫🇷🇩🇪🇪🇸!",
  "“Don’t miss it” – she said… it’s 20 % off • only today",
  "Line one\r\nline two\nline three\r\n\r\n– the team",
  "{\"code\": [1, 2], \"path\": \"C:\\\\temp\"} ~ 5^2 | 10 €",
];
for (const sentence of SENTENCES) {
  add("sentences", sentence, (sentence + " ").repeat(3), sentence.repeat(7).slice(0, 280));
}

// Everything that Smart Encoding replaces, and texts that it shortens or lengthens.
const plain = (text) => new calculator.SegmentedMessage(text).encodedChars.map((one) => one.raw).join("");
const smart = (text) => new calculator.SegmentedMessage(text, "auto", true).encodedChars.map((one) => one.raw).join("");
const replaced = between(0, 0xffff)
  .filter((number) => number < 0xd800 || number > 0xdfff)
  .map(character)
  .filter((text) => plain(text) !== smart(text));
add("smart encoding", ...replaced);
for (const length of [1, 66, 67, 69, 70, 71, 150, 158, 160, 161]) {
  for (const mark of ["’", "…", "—", "\u00a0", "\u200b", "½", "\t", "’中"]) {
    add("smart encoding", stretch(LATIN, length) + mark, mark + stretch(LATIN, length) + mark);
  }
}
add("smart encoding", "…".repeat(60), "\u200b".repeat(80), "\u00a0".repeat(70), "“\u0301”".repeat(30));

// Mixtures.
const FRAGMENTS = [...SEQUENCES, ...SENTENCES.flatMap((text) => text.split(" ")), " ", " ", "\n", ...EXTENDED, "𠮷", "“", "”"];
for (let count = 0; count < 75; count++) {
  let text = "";
  for (const end = 20 + below(180); text.length < end; ) text += pick(FRAGMENTS);
  add("mixtures", text);
}
const PLAIN = [...(LATIN + NATIONAL), ...EXTENDED];
for (let count = 0; count < 50; count++) {
  add("mixtures", Array.from({ length: 130 + below(200) }, () => pick(PLAIN)).join(""));
}

// One character of every class of the grapheme rules, in any order.
const CLASSES = [..."中\u0301\u200d\u0903🇩👍🏽♀👩각가각\n"];
for (let count = 0; count < 70; count++) {
  add("any order", Array.from({ length: 45 + below(60) }, () => pick(CLASSES)).join(""));
}

// Items of a segment that belong to its header have no text.
const sizeOf = (one, encoding) =>
  encoding === "UCS-2" ? one.raw.length : EXTENDED.includes(one.raw) ? 2 : 1;

function count(text, smartEncoding) {
  const { encodingName, segments, encodedChars } = new calculator.SegmentedMessage(text, "auto", smartEncoding);
  const sizes = segments.map((segment) =>
    segment.reduce((sum, one) => sum + (one.raw === undefined ? 0 : sizeOf(one, encodingName)), 0),
  );
  return [encodedChars.map((one) => one.raw).join(""), encodingName, sizes];
}

// ASCII only, so that nothing on the way can change a text.
const quote = (value) =>
  JSON.stringify(value).replace(/[\u007f-\uffff]/g, (unit) => "\\u" + unit.charCodeAt(0).toString(16).padStart(4, "0"));

const groups = Object.entries(texts).map(([group, members]) => {
  const lines = [...new Set(members)].map((text) => {
    const off = count(text, false);
    const on = count(text, true);
    return quote(quote(on) === quote(off) ? off : [...off, on]);
  });
  return `${quote(group)}: [\n${lines.join(",\n")}\n]`;
});
console.log(`{\n${groups.join(",\n")}\n}`);
