import { crc32, deflateRawSync } from 'node:zlib';
import { readZipEntry } from './zip.ts';
import { zipOf } from '../test/zip-writer.ts';

describe('readZipEntry', () => {
  const text = Buffer.from('the program '.repeat(1000));
  const archive = zipOf([
    {
      name: 'a/stored',
      method: 0,
      content: Buffer.from('kept as it is'),
      data: Buffer.from('kept as it is'),
    },
    { name: 'a/deflated', method: 8, content: text, data: deflateRawSync(text) },
    { name: 'a/odd', method: 99, content: text, data: text },
  ]);

  it('reads stored and deflated files', () => {
    expect(readZipEntry(archive, 'a/stored').toString()).toBe('kept as it is');
    expect(crc32(readZipEntry(archive, 'a/deflated'))).toBe(crc32(text));
  });

  it('says what is wrong with an archive', () => {
    expect(() => readZipEntry(archive, 'b')).toThrow('the archive has no file "b"');
    expect(() => readZipEntry(archive, 'a/odd')).toThrow('compression method 99');
    expect(() => readZipEntry(Buffer.from('<html>sign in first</html>'), 'a')).toThrow(
      'this is not a ZIP archive',
    );
  });
});
