const masked = '[redacted]';

/** With the `@` and the dots also as addresses (`%40`) and subjects (`=40`) have them; not the rest of a `\\n`. */
const email =
  /(?<!\\(?:u[\da-f]{0,3})?)[\w.+-]{1,64}(?:@|%40|=40)[\w-]{1,63}(?:(?:\.|%2E|=2E)[\w-]{1,63}){0,6}(?:\.|%2E|=2E)[a-z]{2,24}\b/gi;
/** Thirteen to nineteen digits that begin as card numbers do, in groups or not, and are no fraction. */
const card =
  /(?:(?<![\w-])|(?<=\\(?:[nrtbf]|u[\da-f]{4})))(?<!(?:^|[^\w.])-?\d{1,15}\.)[2-6](?:[ -]?\d){12,18}(?![\w-])/g;
const jwt = /(?:\b|(?<=\\(?:[nrtbf]|u[\da-f]{4})))eyJ[\w-]{5,}(?:\.[\w-]*){1,4}/g;

/**
 * The text without e-mail addresses, card numbers and JSON web tokens, wherever they stand in it: for what is written
 * where people look who need not see them. JSON stays JSON. Names and postal addresses look like any other words.
 */
export function withoutPersonalData(text: string): string {
  let clean = text;
  if (mayHaveEmail(text)) clean = clean.replace(email, masked);
  if (clean.includes('eyJ')) clean = clean.replace(jwt, masked);
  return clean.replace(card, (digits, at: number) => {
    if (!isCardNumber(digits)) return digits;
    // A number in JSON, which text would break.
    const bare = /[:[,]\s*$/.test(clean.slice(Math.max(0, at - 4), at));
    return bare && /^\s*[,\]}]/.test(clean.slice(at + digits.length, at + digits.length + 4)) ? '0' : masked;
  });
}

function mayHaveEmail(text: string): boolean {
  return text.includes('@') || text.includes('=40') || text.includes('%40');
}

/** ISO/IEC 7812-1, annex B: the Luhn check digit. */
function isCardNumber(text: string): boolean {
  const digits = text.replaceAll(/\D/g, '');
  let sum = 0;
  for (let n = 0; n < digits.length; n++) {
    const digit = Number(digits[digits.length - 1 - n]) * (n % 2 === 0 ? 1 : 2);
    sum += digit > 9 ? digit - 9 : digit;
  }
  return sum % 10 === 0;
}
